// The custom tables, with the columns of infra/tables. Deployed where the workspace is.

@description('Name of the workspace.')
param workspaceName string

@description('The tables: name, description and columns, as in infra/tables.')
param tables array

@description('Days to keep the rows.')
param retentionInDays int

resource workspace 'Microsoft.OperationalInsights/workspaces@2023-09-01' existing = {
  name: workspaceName
}

// One after the other: a workspace takes one change of its tables at a time.
@batchSize(1)
resource customTables 'Microsoft.OperationalInsights/workspaces/tables@2023-09-01' = [for table in tables: {
  parent: workspace
  name: table.name
  properties: {
    plan: 'Analytics'
    retentionInDays: retentionInDays
    totalRetentionInDays: retentionInDays
    schema: {
      name: table.name
      description: table.description
      columns: map(table.columns, column => {
        name: column.name
        // The same type is spelt dateTime in a table and datetime in a stream.
        type: column.type == 'datetime' ? 'dateTime' : column.type
        description: column.description
      })
    }
  }
}]
