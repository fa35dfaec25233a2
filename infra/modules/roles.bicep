// Who may do what: every role assignment of the deployment. Called once per resource group that holds something to be
// used; what is not named there is not assigned.

@description('Object id of the identity of the app.')
param appPrincipalId string = ''

@description('Object id of the identity of the alert rules and the Logic App.')
param readerPrincipalId string = ''

@description('Object ids of those who may run the drill and send back what was put aside.')
param drillPrincipalIds array = []

@description('Role by which the app may read what is configured in this group, a GUID; empty for no such right.')
param configurationRole string = ''

@description('Name of the storage account of the app.')
param storageAccountName string = ''

@description('Name of the Event Hubs namespace.')
param eventHubsNamespaceName string = ''

@description('Name of the event hub that the gateways stream to.')
param hubName string = ''

@description('Name of the event hub for bodies that cannot be decoded.')
param deadLetterHubName string = ''

@description('Name of Application Insights.')
param applicationInsightsName string = ''

@description('Name of the data collection rule.')
param dataCollectionRuleName string = ''

@description('Name of the workspace.')
param workspaceName string = ''

var definitions = 'Microsoft.Authorization/roleDefinitions'
var blobOwner = subscriptionResourceId(definitions, 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b') // Storage Blob Data Owner
var tableContributor = subscriptionResourceId(definitions, '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3') // Storage Table Data Contributor
var receiver = subscriptionResourceId(definitions, 'a638d3c7-ab3a-418d-83e6-5f17a39d4fde') // Azure Event Hubs Data Receiver
var sender = subscriptionResourceId(definitions, '2b629674-e913-4c01-ae53-ef4638d8f975') // Azure Event Hubs Data Sender
var publisher = subscriptionResourceId(definitions, '3913510d-42f4-4e42-8a64-420c390055eb') // Monitoring Metrics Publisher
var reader = subscriptionResourceId(definitions, '73c42c96-874c-492b-b04d-ab87d138a893') // Log Analytics Reader

resource storage 'Microsoft.Storage/storageAccounts@2023-05-01' existing = if (!empty(storageAccountName)) { name: storageAccountName }

// The host reads the app's package and keeps checkpoints and leases in blobs; the app keeps its facts in a table.
resource keepsCheckpoints 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(storageAccountName)) {
  scope: storage
  name: guid(resourceGroup().id, storageAccountName, appPrincipalId, blobOwner)
  properties: { principalId: appPrincipalId, principalType: 'ServicePrincipal', roleDefinitionId: blobOwner }
}

resource keepsFacts 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(storageAccountName)) {
  scope: storage
  name: guid(resourceGroup().id, storageAccountName, appPrincipalId, tableContributor)
  properties: { principalId: appPrincipalId, principalType: 'ServicePrincipal', roleDefinitionId: tableContributor }
}

resource namespace 'Microsoft.EventHub/namespaces@2024-01-01' existing = if (!empty(eventHubsNamespaceName)) {
  name: eventHubsNamespaceName

  resource logs 'eventhubs' existing = { name: hubName }

  resource deadLetters 'eventhubs' existing = { name: deadLetterHubName }
}

// The trigger reads the hub, the timer asks it how far it is written; what cannot be decoded is put aside.
resource readsLogs 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(eventHubsNamespaceName)) {
  scope: namespace::logs
  name: guid(resourceGroup().id, eventHubsNamespaceName, hubName, appPrincipalId, receiver)
  properties: { principalId: appPrincipalId, principalType: 'ServicePrincipal', roleDefinitionId: receiver }
}

resource sendsDeadLetters 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(eventHubsNamespaceName)) {
  scope: namespace::deadLetters
  name: guid(resourceGroup().id, eventHubsNamespaceName, deadLetterHubName, appPrincipalId, sender)
  properties: { principalId: appPrincipalId, principalType: 'ServicePrincipal', roleDefinitionId: sender }
}

// The drill plays a failing tunnel into the hub.
resource sendsDrills 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for principalId in drillPrincipalIds: {
  scope: namespace::logs
  name: guid(resourceGroup().id, eventHubsNamespaceName, hubName, principalId, sender)
  properties: { principalId: principalId, roleDefinitionId: sender }
}]

// Who sends back what was put aside reads it first.
resource readsDeadLetters 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for principalId in drillPrincipalIds: {
  scope: namespace::deadLetters
  name: guid(resourceGroup().id, eventHubsNamespaceName, deadLetterHubName, principalId, receiver)
  properties: { principalId: principalId, roleDefinitionId: receiver }
}]

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' existing = if (!empty(applicationInsightsName)) { name: applicationInsightsName }

resource writesTelemetry 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(applicationInsightsName)) {
  scope: applicationInsights
  name: guid(resourceGroup().id, applicationInsightsName, appPrincipalId, publisher)
  properties: { principalId: appPrincipalId, principalType: 'ServicePrincipal', roleDefinitionId: publisher }
}

resource dataCollectionRule 'Microsoft.Insights/dataCollectionRules@2023-03-11' existing = if (!empty(dataCollectionRuleName)) { name: dataCollectionRuleName }

// Rows go to the tables through the rule.
resource writesRows 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(dataCollectionRuleName)) {
  scope: dataCollectionRule
  name: guid(resourceGroup().id, dataCollectionRuleName, appPrincipalId, publisher)
  properties: { principalId: appPrincipalId, principalType: 'ServicePrincipal', roleDefinitionId: publisher }
}

resource workspace 'Microsoft.OperationalInsights/workspaces@2023-09-01' existing = if (!empty(workspaceName)) { name: workspaceName }

// The alert rules and the Logic App query the tables.
resource readsTables 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(workspaceName)) {
  scope: workspace
  name: guid(resourceGroup().id, workspaceName, readerPrincipalId, reader)
  properties: { principalId: readerPrincipalId, principalType: 'ServicePrincipal', roleDefinitionId: reader }
}

// What is configured on the gateways.
resource readsConfiguration 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(configurationRole)) {
  name: guid(resourceGroup().id, appPrincipalId, configurationRole)
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(definitions, configurationRole)
  }
}
