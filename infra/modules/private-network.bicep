// A network of the app's own: it goes out through one public address, and reaches its storage and the event hub through
// private endpoints. Log ingestion and Application Insights stay public endpoints of Azure Monitor.

@description('Region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Name of the virtual network; the names of the rest begin with it.')
param name string

@description('Address space, at least a /24: half of it for the app, a quarter for the endpoints.')
param addressPrefix string

@description('Resource id of the storage account.')
param storageAccountId string

@description('Resource id of the Event Hubs namespace.')
param eventHubsNamespaceId string

var endpoints = [
  { group: 'blob', target: storageAccountId, zone: 'privatelink.blob.${environment().suffixes.storage}' }
  { group: 'queue', target: storageAccountId, zone: 'privatelink.queue.${environment().suffixes.storage}' }
  { group: 'table', target: storageAccountId, zone: 'privatelink.table.${environment().suffixes.storage}' }
  { group: 'namespace', target: eventHubsNamespaceId, zone: 'privatelink.servicebus.windows.net' }
]

module outbound 'outbound-address.bicep' = {
  name: 'outbound-address'
  params: {
    location: location
    tags: tags
    name: '${name}-out'
  }
}

resource network 'Microsoft.Network/virtualNetworks@2024-05-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    addressSpace: {
      addressPrefixes: [addressPrefix]
    }
    // Subnets stand here and not on their own: a second deployment would take them away.
    subnets: [
      {
        name: 'app'
        properties: {
          addressPrefix: cidrSubnet(addressPrefix, 25, 0)
          defaultOutboundAccess: false
          natGateway: {
            id: outbound.outputs.gatewayId
          }
          delegations: [
            {
              name: 'flex-consumption'
              properties: {
                serviceName: 'Microsoft.App/environments'
              }
            }
          ]
        }
      }
      {
        name: 'endpoints'
        properties: {
          addressPrefix: cidrSubnet(addressPrefix, 26, 2)
          defaultOutboundAccess: false
        }
      }
    ]
  }
}

// One after the other: they change the same subnet.
@batchSize(1)
module privateEndpoints 'private-endpoint.bicep' = [for endpoint in endpoints: {
  name: 'private-endpoint-${endpoint.group}'
  params: {
    location: location
    tags: tags
    name: '${name}-${endpoint.group}'
    targetId: endpoint.target
    group: endpoint.group
    zoneName: endpoint.zone
    networkId: network.id
    subnetName: 'endpoints'
  }
}]
