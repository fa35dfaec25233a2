// The alerts about the monitor itself: silent, lagging, or at odds with what it was sent. Each fires for every row that
// its query in infra/queries/alerts returns.

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

// Severity: 0 critical to 4 verbose.
var rules = [
  {
    name: 'silent'
    title: 'ikestream is silent'
    description: 'An app has written no row about itself for 15 minutes: no outage of its gateways would be told.'
    severity: 1
    query: loadTextContent('../queries/alerts/silent.kql')
    per: 'app'
    frequency: 'PT5M'
    window: 'P2D'
  }
  {
    name: 'lagging'
    title: 'ikestream lags behind'
    description: 'What an app judges is more than 15 minutes old, or what it told has been undelivered for so long.'
    severity: 2
    query: loadTextContent('../queries/alerts/lagging.kql')
    per: 'app'
    frequency: 'PT5M'
    window: 'PT15M'
  }
  {
    name: 'sent-nothing'
    title: 'ikestream is sent nothing'
    description: 'For 30 minutes no gateway has sent a record, where something came every quarter of an hour: look at the hub and at the diagnostic settings.'
    severity: 2
    query: loadTextContent('../queries/alerts/sent-nothing.kql')
    per: 'app'
    frequency: 'PT5M'
    window: 'P2D'
  }
  {
    name: 'put-aside'
    title: 'ikestream has put events aside'
    description: 'Bodies or rows went to the dead-letter hub, or a gateway is parked because its facts cannot be stored.'
    severity: 2
    query: loadTextContent('../queries/alerts/put-aside.kql')
    per: 'app'
    frequency: 'PT15M'
    window: 'PT1H'
  }
  {
    name: 'unread'
    title: 'ikestream cannot read some lines'
    description: 'The logs hold lines of a shape that the app does not know. Verdicts stand, but may miss evidence.'
    severity: 3
    query: loadTextContent('../queries/alerts/unread.kql')
    per: 'app'
    frequency: 'PT1H'
    window: 'P1D'
  }
  {
    name: 'dropped'
    title: 'ikestream has dropped facts'
    description: 'A bound was reached, as a flood of strangers does, or records came a day late. Verdicts stand, but may miss evidence.'
    severity: 4
    query: loadTextContent('../queries/alerts/dropped.kql')
    per: 'app'
    frequency: 'PT1H'
    window: 'P1D'
  }
  {
    name: 'refused-rows'
    title: 'Rows of ikestream were refused'
    description: 'The data collection rule took rows and dropped them: table, rule and app are not of the same version.'
    severity: 1
    query: loadTextContent('../queries/alerts/refused-rows.kql')
    per: 'nothing'
    frequency: 'PT5M'
    window: 'PT1H'
  }
]

module alertRules 'alert-rules.bicep' = {
  name: 'monitor-alert-rules'
  params: {
    location: location
    tags: tags
    prefix: prefix
    workspaceId: workspaceId
    identityId: identityId
    actionGroupIds: actionGroupIds
    rules: rules
  }
}
