// The one public address that a network goes out through, for whoever must let it in.

@description('Region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Name of the address and its gateway.')
param name string

resource address 'Microsoft.Network/publicIPAddresses@2024-05-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: 'Standard'
  }
  properties: {
    publicIPAllocationMethod: 'Static'
  }
}

resource gateway 'Microsoft.Network/natGateways@2024-05-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: 'Standard'
  }
  properties: {
    publicIpAddresses: [
      {
        id: address.id
      }
    ]
  }
}

@description('Resource id of the gateway that a subnet names.')
output gatewayId string = gateway.id
