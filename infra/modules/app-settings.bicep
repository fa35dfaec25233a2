// The settings of the app: those of its own, as ikestream/settings.py reads them, and those of the Functions host.

@description('Name of the app.')
param appName string

@description('Name of the identity.')
param identityName string

@description('Name of the storage account.')
param storageAccountName string

@description('Name of the table that the app keeps its facts in.')
param tableName string

@description('Host name of the Event Hubs namespace.')
param eventHubsHostName string

@description('Name of the event hub that the gateways stream to.')
param hubName string

@description('Name of the event hub for bodies that cannot be decoded.')
param deadLetterHubName string

@description('Name of the consumer group of the app.')
param consumerGroupName string

@description('Name of Application Insights.')
param applicationInsightsName string

@description('Resource id of the data collection rule.')
param dataCollectionRuleId string

@description('Webhooks of the app as JSON; empty for none.')
@secure()
param webhooks string

@description('Configured peers as JSON; empty for none.')
@secure()
param peers string

@description('Resource ids of the resource groups whose configuration the app reads; empty for none.')
param inventoryGroupIds array

resource app 'Microsoft.Web/sites@2024-04-01' existing = {
  name: appName
}

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' existing = {
  name: identityName
}

resource storage 'Microsoft.Storage/storageAccounts@2023-05-01' existing = {
  name: storageAccountName
}

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: applicationInsightsName
}

resource dataCollectionRule 'Microsoft.Insights/dataCollectionRules@2023-03-11' existing = {
  scope: resourceGroup(split(dataCollectionRuleId, '/')[2], split(dataCollectionRuleId, '/')[4])
  name: last(split(dataCollectionRuleId, '/'))
}

resource settings 'Microsoft.Web/sites/config@2024-04-01' = {
  parent: app
  name: 'appsettings'
  properties: union(
    {
      APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identity.properties.clientId};Authorization=AAD'
      APPLICATIONINSIGHTS_CONNECTION_STRING: applicationInsights.properties.ConnectionString
      AzureWebJobsStorage__blobServiceUri: storage.properties.primaryEndpoints.blob
      AzureWebJobsStorage__clientId: identity.properties.clientId
      AzureWebJobsStorage__credential: 'managedidentity'
      AzureWebJobsStorage__queueServiceUri: storage.properties.primaryEndpoints.queue
      AzureWebJobsStorage__tableServiceUri: storage.properties.primaryEndpoints.table
      IKESTREAM_CONSUMER_GROUP: consumerGroupName
      IKESTREAM_DCR_ID: dataCollectionRule.properties.immutableId
      IKESTREAM_DEAD_LETTER_HUB: deadLetterHubName
      IKESTREAM_HUB_NAME: hubName
      IKESTREAM_INGESTION_ENDPOINT: dataCollectionRule.properties.endpoints.logsIngestion
      IKESTREAM_TABLE: tableName
      IkeStreamHub__clientId: identity.properties.clientId
      IkeStreamHub__credential: 'managedidentity'
      IkeStreamHub__fullyQualifiedNamespace: eventHubsHostName
      IkeStreamStore__tableServiceUri: storage.properties.primaryEndpoints.table
    },
    empty(webhooks) ? {} : { IKESTREAM_WEBHOOKS: webhooks },
    empty(peers) ? {} : { IKESTREAM_PEERS: peers },
    empty(inventoryGroupIds)
      ? {}
      : {
          IKESTREAM_INVENTORY: join(inventoryGroupIds, ',')
          IKESTREAM_RESOURCE_MANAGER: environment().resourceManager
        }
  )
}
