// Two identities: the app's own, and one that the alert rules and the Logic App read the workspace with.

@description('Region.')
param location string

@description('Tags of every resource.')
param tags object

@description('Name of the identity of the app.')
param appIdentityName string

@description('Name of the identity that reads the workspace.')
param readerIdentityName string

resource app 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: appIdentityName
  location: location
  tags: tags
}

resource reader 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: readerIdentityName
  location: location
  tags: tags
}

@description('Name of the identity of the app.')
output appIdentityName string = app.name

@description('Object id of the identity of the app.')
output appPrincipalId string = app.properties.principalId

@description('Resource id of the identity that reads the workspace.')
output readerIdentityId string = reader.id

@description('Object id of the identity that reads the workspace.')
output readerPrincipalId string = reader.properties.principalId
