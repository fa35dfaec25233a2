// The diagnostic setting of one gateway, which streams its logs to the event hub. Deployed where the gateway is.

@description('Name of the diagnostic setting.')
param settingName string

@description('Resource id of the gateway: a virtual network gateway or a Virtual WAN VPN gateway.')
param gatewayId string

@description('Log categories to stream.')
param categories array

@description('Resource id of the authorization rule of the Event Hubs namespace.')
param authorizationRuleId string

@description('Name of the event hub.')
param hubName string

@description('Resource id of a workspace that gets the same logs; empty for none.')
param workspaceId string

var isVirtualWan = contains(toLower(gatewayId), '/providers/microsoft.network/vpngateways/')
var settings = {
  eventHubAuthorizationRuleId: authorizationRuleId
  eventHubName: hubName
  workspaceId: empty(workspaceId) ? null : workspaceId
  logs: map(categories, category => {
    category: category
    enabled: true
  })
}

resource virtualNetworkGateway 'Microsoft.Network/virtualNetworkGateways@2024-05-01' existing = if (!isVirtualWan) {
  name: last(split(gatewayId, '/'))
}

resource virtualWanGateway 'Microsoft.Network/vpnGateways@2024-05-01' existing = if (isVirtualWan) {
  name: last(split(gatewayId, '/'))
}

resource virtualNetworkGatewayLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (!isVirtualWan) {
  scope: virtualNetworkGateway
  name: settingName
  properties: settings
}

resource virtualWanGatewayLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (isVirtualWan) {
  scope: virtualWanGateway
  name: settingName
  properties: settings
}
