// Who is told when an alert fires or resolves.

@description('Tags of every resource.')
param tags object

@description('Name of the group.')
param name string

@description('Mail addresses.')
param emailAddresses array

@description('Telephones: countryCode and phoneNumber.')
param smsNumbers array

@description('Webhooks: name and HTTPS address.')
@secure()
param webhooks object

@description('Resource ids of Logic Apps with a request trigger named manual.')
param logicAppIds array

resource actionGroup 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: name
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'ikestream'
    enabled: true
    emailReceivers: [for address in emailAddresses: {
      name: address
      emailAddress: address
      useCommonAlertSchema: true
    }]
    smsReceivers: [for telephone in smsNumbers: {
      name: '+${telephone.countryCode} ${telephone.phoneNumber}'
      countryCode: telephone.countryCode
      phoneNumber: telephone.phoneNumber
    }]
    webhookReceivers: [for webhook in items(webhooks): {
      name: webhook.key
      serviceUri: webhook.value
      useCommonAlertSchema: true
    }]
    logicAppReceivers: [for id in logicAppIds: {
      name: last(split(id, '/'))
      resourceId: id
      callbackUrl: listCallbackUrl('${id}/triggers/manual', '2019-05-01').value
      useCommonAlertSchema: true
    }]
  }
}
