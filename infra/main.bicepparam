using './main.bicep'

// The gateways to watch: az network vnet-gateway list -g <group> --query [].id; az network vpn-gateway list --query [].id
param gatewayIds = []

// Verdicts name connections if the app may read the resource groups of the gateways, and of their connections and sites.
param inventoryGroupIds = []

// Who gets the alerts. Without anybody the alerts still stand in Azure Monitor.
param emailAddresses = []
