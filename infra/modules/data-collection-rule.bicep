// The rule that takes the app's rows into the tables, with an endpoint of its own, and the log of the rows it refuses.

@description('Region: that of the workspace.')
param location string

@description('Tags of every resource.')
param tags object

@description('Name of the rule.')
param name string

@description('Resource id of the workspace.')
param workspaceId string

@description('The tables: stream and columns, as in infra/tables.')
param tables array

resource rule 'Microsoft.Insights/dataCollectionRules@2023-03-11' = {
  name: name
  location: location
  tags: tags
  kind: 'Direct'
  properties: {
    description: 'Rows of ikestream.'
    streamDeclarations: toObject(tables, table => table.stream, table => {
      columns: map(table.columns, column => {
        name: column.name
        type: column.type
      })
    })
    destinations: {
      logAnalytics: [
        {
          name: 'workspace'
          workspaceResourceId: workspaceId
        }
      ]
    }
    dataFlows: [for table in tables: {
      streams: [table.stream]
      destinations: ['workspace']
      transformKql: 'source'
      outputStream: table.stream
    }]
  }
}

// The endpoint answers 204 before it looks at the columns. What does not fit them shows here and nowhere else.
resource refusedRows 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: rule
  name: 'refused-rows'
  properties: {
    workspaceId: workspaceId
    logAnalyticsDestinationType: 'Dedicated'
    logs: [
      {
        category: 'LogErrors'
        enabled: true
      }
    ]
  }
}
