// Application Insights: the app's own log and the host's.

@description('Region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Name.')
param name string

@description('Resource id of the workspace that keeps the data.')
param workspaceId string

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' = {
  name: name
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspaceId
    // Only identities may write: the connection string alone is no key.
    DisableLocalAuth: true
  }
}

@description('Name.')
output name string = applicationInsights.name
