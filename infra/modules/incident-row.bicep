// A Logic App between an alert and whoever is told: an alert's mail shows dimensions and a link, this one carries the row.
// The action group calls it; it reads the newest row of the incident with its identity and posts it to an address.

@description('Region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Name of the Logic App.')
param name string

@description('Resource id of the identity that reads the workspace.')
param identityId string

@description('Workspace id that queries name.')
param workspaceCustomerId string

@description('HTTPS address that gets { text, row }.')
@secure()
param address string

@description('Where Log Analytics answers queries; another one in sovereign clouds.')
param queryEndpoint string = 'https://api.loganalytics.azure.com'

resource workflow 'Microsoft.Logic/workflows@2019-05-01' = {
  name: name
  location: location
  tags: tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    state: 'Enabled'
    definition: loadJsonContent('incident-row.workflow.json')
    parameters: {
      address: {
        value: address
      }
      audience: {
        value: queryEndpoint
      }
      identity: {
        value: identityId
      }
      query: {
        value: loadTextContent('../queries/incident-row.kql')
      }
      queryUri: {
        value: '${queryEndpoint}/v1/workspaces/${workspaceCustomerId}/query'
      }
    }
  }
}

@description('Name of the Logic App.')
output name string = workflow.name
