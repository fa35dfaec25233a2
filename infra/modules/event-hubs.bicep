// The event hub that the gateways stream to, the app's consumer group, and the hub for what cannot be decoded.

@description('Region: that of the gateways.')
param location string

@description('Tags of every resource.')
param tags object

@description('Name of the namespace.')
param name string

@description('Name of the event hub that the gateways stream to.')
param hubName string

@description('Name of the event hub for bodies that cannot be decoded.')
param deadLetterHubName string

@description('Name of the consumer group of the app.')
param consumerGroupName string

@description('Throughput units of the namespace.')
param throughputUnits int

@description('Most throughput units the namespace may grow to by itself.')
param maximumThroughputUnits int

@description('Whether only private endpoints and Azure\'s own diagnostic settings may reach the namespace.')
param isPrivate bool

resource namespace 'Microsoft.EventHub/namespaces@2024-01-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: 'Standard'
    tier: 'Standard'
    capacity: throughputUnits
  }
  properties: {
    minimumTlsVersion: '1.2'
    // Diagnostic settings sign in with an authorization rule; they know no identity.
    disableLocalAuth: false
    isAutoInflateEnabled: maximumThroughputUnits > throughputUnits
    maximumThroughputUnits: maximumThroughputUnits > throughputUnits ? maximumThroughputUnits : 0
  }

  resource network 'networkRuleSets' = {
    name: 'default'
    properties: {
      publicNetworkAccess: 'Enabled'
      defaultAction: isPrivate ? 'Deny' : 'Allow'
      trustedServiceAccessEnabled: true
    }
  }

  // Azure Monitor wants all three rights for a rule that diagnostic settings use; nothing else uses it.
  resource diagnosticSettings 'authorizationRules' = {
    name: 'diagnostic-settings'
    properties: {
      rights: ['Listen', 'Manage', 'Send']
    }
  }

  resource logs 'eventhubs' = {
    name: hubName
    properties: {
      partitionCount: 4
      messageRetentionInDays: 7
    }

    resource app 'consumergroups' = {
      name: consumerGroupName
    }
  }

  resource deadLetters 'eventhubs' = {
    name: deadLetterHubName
    properties: {
      partitionCount: 1
      messageRetentionInDays: 7
    }
  }
}

@description('Name of the namespace.')
output namespaceName string = namespace.name

@description('Resource id of the namespace.')
output namespaceId string = namespace.id

@description('Host name of the namespace.')
output hostName string = split(split(namespace.properties.serviceBusEndpoint, '/')[2], ':')[0]

@description('Resource id of the authorization rule for diagnostic settings.')
output authorizationRuleId string = namespace::diagnosticSettings.id
