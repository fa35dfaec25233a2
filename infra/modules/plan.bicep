// The Flex Consumption plan of the app.

@description('Region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Name of the plan.')
param name string

@description('Whether instances are spread over the zones of the region.')
param isZoneRedundant bool

resource plan 'Microsoft.Web/serverfarms@2024-04-01' = {
  name: name
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
    zoneRedundant: isZoneRedundant
  }
}

@description('Resource id of the plan.')
output id string = plan.id
