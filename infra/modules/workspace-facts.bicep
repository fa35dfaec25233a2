// What the rest must know of the workspace, new or existing. Deployed where the workspace is; creates nothing.

@description('Name of the workspace.')
param name string

resource workspace 'Microsoft.OperationalInsights/workspaces@2023-09-01' existing = {
  name: name
}

@description('Resource id of the workspace.')
output id string = workspace.id

@description('Region of the workspace: its data collection rule and its alert rules must be there, too.')
output location string = workspace.location

@description('Workspace id that queries name.')
output customerId string = workspace.properties.customerId
