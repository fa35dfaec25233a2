// The alert rules as Azure Monitor takes them: one period, so that an alert stands exactly as long as its query returns
// the row, and resolves by itself.

@description('Region: that of the workspace.')
param location string

@description('Tags of every resource.')
param tags object

@description('What the names of the rules begin with.')
param prefix string

@description('Resource id of the workspace.')
param workspaceId string

@description('Resource id of the identity that the rules query with.')
param identityId string

@description('Resource ids of the action groups that are told.')
param actionGroupIds array

@description('The rules: name, title, description, severity, query, frequency, window, range of the query if it is longer, and what it fires per: incident, app or nothing.')
param rules array

// Values that never change for an incident or an app: a dimension that changed would resolve one alert and fire another.
var columns = {
  incident: ['IncidentId', 'GatewayName', 'RemoteIP', 'OpenedAs']
  app: ['AppName']
  nothing: []
}

resource alertRules 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [for rule in rules: {
  name: '${prefix}-${rule.name}'
  location: location
  tags: tags
  kind: 'LogAlert'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    displayName: rule.title
    description: rule.description
    severity: rule.severity
    enabled: true
    scopes: [workspaceId]
    evaluationFrequency: rule.frequency
    windowSize: rule.window
    overrideQueryTimeRange: rule.?range
    criteria: {
      allOf: [
        {
          query: rule.query
          timeAggregation: 'Count'
          operator: 'GreaterThan'
          threshold: 0
          dimensions: map(columns[rule.per], column => {
            name: column
            operator: 'Include'
            values: ['*']
          })
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }
      ]
    }
    autoMitigate: true
    // A table that was created a minute ago is not known to queries yet, and the rule would not be created.
    skipQueryValidation: true
    actions: {
      actionGroups: actionGroupIds
    }
  }
}]
