using './main.bicep'

// The gateways to watch: az network vnet-gateway list -g <group> --query [].id; az network vpn-gateway list --query [].id
param gatewayIds = []

// Who gets the alerts. Without anybody the alerts still stand in Azure Monitor.
param emailAddresses = []
