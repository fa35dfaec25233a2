// The alerts about incidents: outages, advisories worth a ticket, and more of both than Azure raises alerts for. Each
// fires for every row that its query in infra/queries/alerts returns.

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

@description('How often the rules about incidents look, as an ISO 8601 duration.')
param frequency string

// An open incident is told again every six hours, so two days lose none. A rule that looks every minute takes a window of at
// most six hours; the range of its query may be two days all the same. Severity: 0 critical to 4 verbose.
var rules = [
  {
    name: 'outage'
    title: 'VPN outage'
    description: 'A tunnel or a gateway is down. The row in IkeDiagnosis_CL says since when, why and what to do.'
    severity: 1
    query: loadTextContent('../queries/alerts/outage.kql')
    per: 'incident'
    frequency: frequency
    window: 'PT6H'
    range: 'P2D'
  }
  {
    name: 'advisory'
    title: 'VPN advisory'
    description: 'A tunnel works, but something about it deserves a ticket before it becomes an outage.'
    severity: 3
    query: loadTextContent('../queries/alerts/advisory.kql')
    per: 'incident'
    frequency: frequency
    window: 'PT6H'
    range: 'P2D'
  }
  {
    name: 'many-open'
    title: 'More than 300 open VPN incidents'
    description: 'Azure raises at most 300 alerts of a rule at a time: the rules for outages and advisories do not show all.'
    severity: 0
    query: loadTextContent('../queries/alerts/many-open.kql')
    per: 'nothing'
    frequency: frequency
    window: 'PT6H'
    range: 'P2D'
  }
]

module alertRules 'alert-rules.bicep' = {
  name: 'incident-alert-rules'
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
