// The Functions app. It signs in everywhere with its identity.

@description('Region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Name of the app.')
param name string

@description('Resource id of the plan.')
param planId string

@description('Name of the identity.')
param identityName string

@description('Name of the storage account.')
param storageAccountName string

@description('Instances of the event hub trigger that are always ready.')
param alwaysReadyInstances int

@description('Memory of an instance in MB.')
param instanceMemoryMB int

@description('Resource id of the subnet that the app joins; empty for none.')
param subnetId string

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' existing = {
  name: identityName
}

resource storage 'Microsoft.Storage/storageAccounts@2023-05-01' existing = {
  name: storageAccountName
}

resource app 'Microsoft.Web/sites@2024-04-01' = {
  name: name
  location: location
  tags: tags
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identity.id}': {}
    }
  }
  properties: {
    serverFarmId: planId
    httpsOnly: true
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      ftpsState: 'Disabled'
      http20Enabled: true
    }
    functionAppConfig: {
      runtime: {
        name: 'python'
        version: '3.12'
      }
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${storage.properties.primaryEndpoints.blob}app-package'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identity.id
          }
        }
      }
      scaleAndConcurrency: {
        // The trigger uses at most one instance per partition; 40 is the least that the plan takes.
        maximumInstanceCount: 40
        instanceMemoryMB: instanceMemoryMB
        alwaysReady: alwaysReadyInstances == 0 ? [] : [
          {
            name: 'function:learn'
            instanceCount: alwaysReadyInstances
          }
        ]
      }
    }
  }

  // Publishing signs in with Microsoft Entra ID; user names and passwords of the site are off.
  resource ftp 'basicPublishingCredentialsPolicies' = {
    name: 'ftp'
    properties: {
      allow: false
    }
  }

  resource scm 'basicPublishingCredentialsPolicies' = {
    name: 'scm'
    properties: {
      allow: false
    }
  }
}

@description('Name of the app.')
output name string = app.name
