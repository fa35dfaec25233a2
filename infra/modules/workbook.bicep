// The workbook: the fleet at a glance, incidents, one tunnel with its evidence, and the health of the monitor.

@description('Region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Resource id of the workspace that it reads.')
param workspaceId string

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, 'ikestream')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'VPN tunnels'
    description: 'What ikestream found: open incidents, their causes and evidence, and its own health.'
    category: 'workbook'
    sourceId: workspaceId
    serializedData: replace(loadTextContent('../workbooks/ikestream.json'), '<workspace>', workspaceId)
    version: 'Notebook/1.0'
  }
}
