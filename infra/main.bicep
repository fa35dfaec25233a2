// What stands afterwards, once per region that has VPN gateways:
//
//   gateways' diagnostic settings > event hub > Functions app > tables in Log Analytics > alerts, queries, workbook
//
// The tables, their data collection rule, the alert rules, the queries and the workbook exist once. A deployment for a
// further region writes into them: set isFirstRegion to false and name the workspace and the data collection rule.
targetScope = 'resourceGroup'

metadata name = 'ikestream'
metadata description = 'Diagnoses IPsec tunnels of Azure VPN gateways from their IKE logs, and alerts on what it finds.'

@description('Names that replace derived ones.')
type resourceNames = {
  @description('Event Hubs namespace, unique in Azure: 6 to 50 letters, digits and hyphens.')
  eventHubsNamespace: string?

  @description('Event hub that the gateways stream to.')
  hub: string?

  @description('Event hub for bodies that cannot be decoded.')
  deadLetterHub: string?

  @description('Consumer group of the app.')
  consumerGroup: string?

  @description('Storage account of the app, unique in Azure: 3 to 24 lower-case letters and digits.')
  storageAccount: string?

  @description('Table that the app keeps its facts in: 3 to 63 letters and digits, a letter first.')
  table: string?

  @description('Functions app, unique in Azure: 2 to 60 letters, digits and hyphens.')
  functionApp: string?

  @description('Flex Consumption plan.')
  plan: string?

  @description('Identity of the app.')
  appIdentity: string?

  @description('Identity that the alert rules and the Logic App read the workspace with.')
  readerIdentity: string?

  @description('Application Insights.')
  applicationInsights: string?

  @description('Log Analytics workspace, if a new one is created.')
  workspace: string?

  @description('Data collection rule.')
  dataCollectionRule: string?

  @description('Action group.')
  actionGroup: string?

  @description('Query pack.')
  queryPack: string?

  @description('Logic App that carries the row of an incident.')
  logicApp: string?

  @description('Virtual network of the private network.')
  virtualNetwork: string?
}

@description('A telephone: country code and number, digits only.')
type telephone = {
  @description('Country code without the plus sign.')
  countryCode: string

  @description('Number without the country code.')
  phoneNumber: string
}

@description('Region of the event hub and the app: that of the gateways, since a diagnostic setting streams only to a hub in its region.')
param location string = resourceGroup().location

@description('What derived names begin with: lower-case letters and digits, a letter first.')
@minLength(3)
@maxLength(10)
param prefix string = 'ikestream'

@description('Names to use instead of the derived ones.')
param names resourceNames = {}

@description('Tags of every resource.')
param tags object = {}

// --- What is watched --------------------------------------------------------------------------------------------------

@description('Resource ids of the gateways of this region: virtual network gateways and Virtual WAN VPN gateways, of any subscription of this tenant.')
param gatewayIds string[] = []

@description('Log categories to stream. IKEDiagnosticLog proves causes and is most of the volume; TunnelDiagnosticLog alone still tells up and down.')
param logCategories string[] = [
  'IKEDiagnosticLog'
  'TunnelDiagnosticLog'
  'GatewayDiagnosticLog'
  'RouteDiagnosticLog'
]

@description('Whether the gateways write the same logs into the workspace, too: for queries of your own, paid per GB.')
param keepRawLogs bool = false

// --- Where results go -------------------------------------------------------------------------------------------------

@description('Whether this deployment owns the tables, the data collection rule, the alert rules, the queries and the workbook.')
param isFirstRegion bool = true

@description('Resource id of an existing Log Analytics workspace; empty for a new one. Later regions name that of the first.')
param workspaceId string = ''

@description('Resource id of the data collection rule of the first region; only for later regions.')
param dataCollectionRuleId string = ''

@description('Days to keep the rows of both tables.')
@minValue(4)
@maxValue(730)
param retentionInDays int = 90

// --- The app ----------------------------------------------------------------------------------------------------------

@description('Instances of the event hub trigger that are always ready; 0 saves their price and costs cold starts.')
@minValue(0)
@maxValue(4)
param alwaysReadyInstances int = 1

@description('Memory of an instance of the app in MB.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 2048

@description('Whether storage and app use the zones of the region, where it has some.')
param zoneRedundant bool = false

@description('Throughput units of the Event Hubs namespace: each takes 1 MB or 1,000 events a second.')
@minValue(1)
@maxValue(20)
param throughputUnits int = 1

@description('Most throughput units the namespace may grow to by itself. If it has grown, the next deployment sets it back to throughputUnits.')
@minValue(1)
@maxValue(20)
param maximumThroughputUnits int = throughputUnits

@description('Webhooks of the app, which carry the whole row of an incident (JSON, see README); empty for none.')
@secure()
param webhooks string = ''

@description('Peers that are configured although no log shows it yet (JSON, see README); empty for none.')
@secure()
param peers string = ''

@description('Resource ids of the resource groups whose configuration the app reads: those of the gateways, and of their connections and sites, if these are others. Then verdicts name connections. Empty for none.')
@maxLength(100)
param inventoryGroupIds string[] = []

@description('GUID of the role that lets the app read them: Reader, or a narrower one of your own (see README).')
param inventoryRole string = 'acdd72a7-3385-48ef-bd42-f606fba81ae7'

@description('Object ids of the people or groups that may run the drill and redrive: they may send to the event hub, read the dead-letter hub, and nothing else.')
param drillPrincipalIds string[] = []

// --- Who is told ------------------------------------------------------------------------------------------------------

@description('Mail addresses that get the alerts.')
param emailAddresses string[] = []

@description('Telephones that get the alerts as SMS.')
param smsNumbers telephone[] = []

@description('Addresses that get the alerts in the common alert schema: { name: HTTPS address }.')
@secure()
param alertWebhooks object = {}

@description('Resource ids of Logic Apps, with a request trigger named manual, that get the alerts.')
param logicAppIds string[] = []

@description('Resource ids of existing action groups that get the alerts, too.')
param actionGroupIds string[] = []

@description('HTTPS address that a Logic App posts the row of an incident to when its alert fires or resolves; empty for no Logic App.')
@secure()
param rowAddress string = ''

@description('How often the alert rules look, as an ISO 8601 duration. One minute costs the most and tells the soonest.')
@allowed(['PT1M', 'PT5M', 'PT10M', 'PT15M'])
param alertFrequency string = 'PT1M'

// --- Network ----------------------------------------------------------------------------------------------------------

@description('Whether the app reaches its storage and the event hub only through private endpoints in a network of its own.')
param privateNetwork bool = false

@description('Address space of that network, at least a /24 that overlaps nothing it may be peered with.')
param addressPrefix string = '10.248.0.0/24'

// --- Names ------------------------------------------------------------------------------------------------------------

var token = uniqueString(resourceGroup().id, location)
var use = union(
  {
    eventHubsNamespace: '${prefix}-${token}'
    hub: 'vpn-logs'
    deadLetterHub: 'dead-letters'
    consumerGroup: 'ikestream'
    storageAccount: '${prefix}${token}'
    table: 'ikestream'
    functionApp: '${prefix}-${token}'
    plan: '${prefix}-${token}'
    appIdentity: '${prefix}-app-${token}'
    readerIdentity: '${prefix}-reader-${token}'
    applicationInsights: '${prefix}-${token}'
    workspace: '${prefix}-${token}'
    dataCollectionRule: '${prefix}-${token}'
    actionGroup: '${prefix}-${token}'
    queryPack: '${prefix}-${token}'
    logicApp: '${prefix}-row-${token}'
    virtualNetwork: '${prefix}-${token}'
  },
  names
)
var tables = [
  loadJsonContent('tables/IkeDiagnosis.json')
  loadJsonContent('tables/IkeStreamHealth.json')
]
// What is new gets the id it will have, so that new and existing are one case from here on.
var workspace = empty(workspaceId) ? resourceId('Microsoft.OperationalInsights/workspaces', use.workspace) : workspaceId
var dcr = isFirstRegion ? resourceId('Microsoft.Insights/dataCollectionRules', use.dataCollectionRule) : dataCollectionRuleId
var rowLogicApp = resourceId('Microsoft.Logic/workflows', use.logicApp)
var carriesRow = isFirstRegion && !empty(rowAddress)

// --- In every region --------------------------------------------------------------------------------------------------

module identities 'modules/identities.bicep' = {
  name: 'identities'
  params: {
    location: location
    tags: tags
    appIdentityName: use.appIdentity
    readerIdentityName: use.readerIdentity
  }
}

module eventHubs 'modules/event-hubs.bicep' = {
  name: 'event-hubs'
  params: {
    location: location
    tags: tags
    name: use.eventHubsNamespace
    hubName: use.hub
    deadLetterHubName: use.deadLetterHub
    consumerGroupName: use.consumerGroup
    throughputUnits: throughputUnits
    maximumThroughputUnits: maximumThroughputUnits
    isPrivate: privateNetwork
  }
}

module gatewayLogs 'modules/gateway-logs.bicep' = [for id in gatewayIds: {
  name: 'gateway-logs-${uniqueString(id, location)}'
  scope: resourceGroup(split(id, '/')[2], split(id, '/')[4])
  params: {
    settingName: '${prefix}-${token}'
    gatewayId: id
    categories: logCategories
    authorizationRuleId: eventHubs.outputs.authorizationRuleId
    hubName: use.hub
    workspaceId: keepRawLogs ? workspace : ''
  }
  dependsOn: [newWorkspace]
}]

module storage 'modules/storage.bicep' = {
  name: 'storage'
  params: {
    location: location
    tags: tags
    name: use.storageAccount
    tableName: use.table
    isZoneRedundant: zoneRedundant
    isPrivate: privateNetwork
  }
}

module network 'modules/private-network.bicep' = if (privateNetwork) {
  name: 'private-network'
  params: {
    location: location
    tags: tags
    name: use.virtualNetwork
    addressPrefix: addressPrefix
    storageAccountId: storage.outputs.id
    eventHubsNamespaceId: eventHubs.outputs.namespaceId
  }
}

module newWorkspace 'modules/workspace.bicep' = if (empty(workspaceId)) {
  name: 'workspace'
  params: {
    location: location
    tags: tags
    name: use.workspace
  }
}

module workspaceFacts 'modules/workspace-facts.bicep' = {
  name: 'workspace-facts-${token}'
  scope: resourceGroup(split(workspace, '/')[2], split(workspace, '/')[4])
  params: {
    name: last(split(workspace, '/'))
  }
  dependsOn: [newWorkspace]
}

module applicationInsights 'modules/application-insights.bicep' = {
  name: 'application-insights'
  params: {
    location: location
    tags: tags
    name: use.applicationInsights
    workspaceId: workspaceFacts.outputs.id
  }
}

module plan 'modules/plan.bicep' = {
  name: 'plan'
  params: {
    location: location
    tags: tags
    name: use.plan
    isZoneRedundant: zoneRedundant
  }
}

module app 'modules/app.bicep' = {
  name: 'app'
  params: {
    location: location
    tags: tags
    name: use.functionApp
    planId: plan.outputs.id
    identityName: identities.outputs.appIdentityName
    storageAccountName: storage.outputs.name
    alwaysReadyInstances: alwaysReadyInstances
    instanceMemoryMB: instanceMemoryMB
    subnetId: privateNetwork ? resourceId('Microsoft.Network/virtualNetworks/subnets', use.virtualNetwork, 'app') : ''
  }
  // Without its rights the app cannot read its own package; the network must stand before it joins.
  dependsOn: [rolesHere, network]
}

module appSettings 'modules/app-settings.bicep' = {
  name: 'app-settings'
  params: {
    appName: app.outputs.name
    identityName: identities.outputs.appIdentityName
    storageAccountName: storage.outputs.name
    tableName: storage.outputs.tableName
    eventHubsHostName: eventHubs.outputs.hostName
    hubName: use.hub
    deadLetterHubName: use.deadLetterHub
    consumerGroupName: use.consumerGroup
    applicationInsightsName: applicationInsights.outputs.name
    dataCollectionRuleId: dcr
    webhooks: webhooks
    peers: peers
    inventoryGroupIds: inventoryGroupIds
  }
  dependsOn: [rolesOnDataCollectionRule]
}

// --- Once, in the first region ----------------------------------------------------------------------------------------

module workspaceTables 'modules/tables.bicep' = if (isFirstRegion) {
  name: 'tables-${token}'
  scope: resourceGroup(split(workspace, '/')[2], split(workspace, '/')[4])
  params: {
    workspaceName: last(split(workspace, '/'))
    tables: tables
    retentionInDays: retentionInDays
  }
  dependsOn: [newWorkspace]
}

module dataCollectionRule 'modules/data-collection-rule.bicep' = if (isFirstRegion) {
  name: 'data-collection-rule'
  params: {
    location: workspaceFacts.outputs.location
    tags: tags
    name: use.dataCollectionRule
    workspaceId: workspaceFacts.outputs.id
    tables: tables
  }
  dependsOn: [workspaceTables]
}

module incidentRow 'modules/incident-row.bicep' = if (carriesRow) {
  name: 'incident-row'
  params: {
    location: location
    tags: tags
    name: use.logicApp
    identityId: identities.outputs.readerIdentityId
    workspaceCustomerId: workspaceFacts.outputs.customerId
    address: rowAddress
  }
}

module actionGroup 'modules/action-group.bicep' = if (isFirstRegion) {
  name: 'action-group'
  params: {
    tags: tags
    name: use.actionGroup
    emailAddresses: emailAddresses
    smsNumbers: smsNumbers
    webhooks: alertWebhooks
    logicAppIds: concat(logicAppIds, carriesRow ? [rowLogicApp] : [])
  }
  dependsOn: [incidentRow]
}

module incidentAlerts 'modules/incident-alerts.bicep' = if (isFirstRegion) {
  name: 'incident-alerts'
  params: {
    location: workspaceFacts.outputs.location
    tags: tags
    prefix: prefix
    workspaceId: workspaceFacts.outputs.id
    identityId: identities.outputs.readerIdentityId
    actionGroupIds: concat(actionGroupIds, [resourceId('Microsoft.Insights/actionGroups', use.actionGroup)])
    frequency: alertFrequency
  }
  dependsOn: [actionGroup, workspaceTables, rolesOnWorkspace]
}

module monitorAlerts 'modules/monitor-alerts.bicep' = if (isFirstRegion) {
  name: 'monitor-alerts'
  params: {
    location: workspaceFacts.outputs.location
    tags: tags
    prefix: prefix
    workspaceId: workspaceFacts.outputs.id
    identityId: identities.outputs.readerIdentityId
    actionGroupIds: concat(actionGroupIds, [resourceId('Microsoft.Insights/actionGroups', use.actionGroup)])
  }
  dependsOn: [actionGroup, workspaceTables, rolesOnWorkspace]
}

module queryPack 'modules/query-pack.bicep' = if (isFirstRegion) {
  name: 'query-pack'
  params: {
    location: location
    tags: tags
    name: use.queryPack
  }
}

module workbook 'modules/workbook.bicep' = if (isFirstRegion) {
  name: 'workbook'
  params: {
    location: location
    tags: tags
    workspaceId: workspaceFacts.outputs.id
  }
}

// --- Who may do what: one file, three scopes --------------------------------------------------------------------------

module rolesHere 'modules/roles.bicep' = {
  name: 'roles'
  params: {
    appPrincipalId: identities.outputs.appPrincipalId
    storageAccountName: storage.outputs.name
    eventHubsNamespaceName: eventHubs.outputs.namespaceName
    hubName: use.hub
    deadLetterHubName: use.deadLetterHub
    applicationInsightsName: applicationInsights.outputs.name
    drillPrincipalIds: drillPrincipalIds
  }
}

module rolesOnGateways 'modules/roles.bicep' = [for id in inventoryGroupIds: {
  name: 'roles-on-gateways-${uniqueString(id, token)}'
  scope: resourceGroup(split(id, '/')[2], split(id, '/')[4])
  params: {
    appPrincipalId: identities.outputs.appPrincipalId
    configurationRole: inventoryRole
  }
}]

module rolesOnDataCollectionRule 'modules/roles.bicep' = {
  name: 'roles-on-rule-${token}'
  scope: resourceGroup(split(dcr, '/')[2], split(dcr, '/')[4])
  params: {
    appPrincipalId: identities.outputs.appPrincipalId
    dataCollectionRuleName: last(split(dcr, '/'))
  }
  dependsOn: [dataCollectionRule]
}

module rolesOnWorkspace 'modules/roles.bicep' = if (isFirstRegion) {
  name: 'roles-on-workspace-${token}'
  scope: resourceGroup(split(workspace, '/')[2], split(workspace, '/')[4])
  params: {
    readerPrincipalId: identities.outputs.readerPrincipalId
    workspaceName: last(split(workspace, '/'))
  }
  dependsOn: [newWorkspace]
}

// --- What to use next -------------------------------------------------------------------------------------------------

@description('Functions app to publish to: func azure functionapp publish <name> --python.')
output functionAppName string = app.outputs.name

@description('Host name of the Event Hubs namespace, for the drill.')
output eventHubsHostName string = eventHubs.outputs.hostName

@description('Event hub that the gateways stream to, for the drill.')
output eventHubName string = use.hub

@description('Workspace with the tables; name it in later regions.')
output workspaceId string = workspaceFacts.outputs.id

@description('Data collection rule of the tables; name it in later regions.')
output dataCollectionRuleId string = dcr
