// The queries of infra/queries as a query pack: in Log Analytics under Queries, Query packs.

@description('Region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Name of the query pack.')
param name string

var queries = [
  {
    name: 'open-incidents'
    title: 'Open incidents'
    description: 'Every incident whose last revision says Open, the worst first.'
    body: loadTextContent('../queries/open-incidents.kql')
  }
  {
    name: 'story-of-a-tunnel'
    title: 'The story of one tunnel'
    description: 'Every revision of every incident of one tunnel, in the order told, with what changed.'
    body: loadTextContent('../queries/story-of-a-tunnel.kql')
  }
  {
    name: 'causes-over-time'
    title: 'Causes over time'
    description: 'Outages by day and cause.'
    body: loadTextContent('../queries/causes-over-time.kql')
  }
  {
    name: 'mean-time-to-recover'
    title: 'Mean time to recover'
    description: 'How many outages each tunnel had and how long it was down, on average, at most and in all.'
    body: loadTextContent('../queries/mean-time-to-recover.kql')
  }
  {
    name: 'what-changed-before'
    title: 'What changed before it broke'
    description: 'What differs from the last good negotiation of each outage, when, and on whose side.'
    body: loadTextContent('../queries/what-changed-before.kql')
  }
  {
    name: 'ike-messages'
    title: 'IKE messages in AzureDiagnostics'
    description: 'The messages themselves, where the gateways write into the workspace, too.'
    body: loadTextContent('../queries/ike-messages.kql')
  }
  {
    name: 'messages-and-verdicts'
    title: 'IKE messages beside the verdicts'
    description: 'The messages of one tunnel in AzureDiagnostics with the verdict that stood at that moment.'
    body: loadTextContent('../queries/messages-and-verdicts.kql')
  }
  {
    name: 'incident-row'
    title: 'One incident as JSON'
    description: 'The newest revision of one incident with every column; what the Logic App posts.'
    body: loadTextContent('../queries/incident-row.kql')
  }
]

resource queryPack 'Microsoft.OperationalInsights/queryPacks@2019-09-01' = {
  name: name
  location: location
  tags: tags
  properties: {}
}

resource packed 'Microsoft.OperationalInsights/queryPacks/queries@2019-09-01' = [for query in queries: {
  parent: queryPack
  name: guid(queryPack.id, query.name)
  properties: {
    displayName: query.title
    description: query.description
    body: query.body
    related: {
      categories: ['network']
      resourceTypes: ['microsoft.network/virtualnetworkgateways', 'microsoft.network/vpngateways']
    }
    tags: {
      labels: ['ikestream']
    }
  }
}]
