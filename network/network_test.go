package network_test

import (
	"strings"
	"testing"

	"github.com/sandboxrun/sandboxrun/network"
	"github.com/sandboxrun/sandboxrun/network/networktest"
)

func TestServicesReachEachOtherByTheirAddresses(t *testing.T) {
	stack := networktest.OpenStack(t)
	networktest.AddBridge(t, stack, "front", "172.20.0.1/16", "fd00:20::1/64")
	web := networktest.AddService(t, stack, network.Interface{
		Name: "eth0", Bridge: "front", Addresses: networktest.Prefixes("172.20.0.2/16", "fd00:20::2/64"),
	})
	db := networktest.AddService(t, stack, network.Interface{
		Name: "eth0", Bridge: "front", Addresses: networktest.Prefixes("172.20.0.3/16", "fd00:20::3/64"),
	})
	serve(t, db, "172.20.0.3:5432", "over IPv4")
	serve(t, db, "[fd00:20::3]:5432", "over IPv6")
	serve(t, db, "127.0.0.1:6000", "at home")
	serve(t, db, "[::1]:6001", "at home by IPv6")
	for _, tt := range []struct {
		from                *network.Namespace
		address, want, fail string
	}{
		{from: web, address: "172.20.0.3:5432", want: "over IPv4"},
		{from: web, address: "[fd00:20::3]:5432", want: "over IPv6"},
		{from: db, address: "localhost:6000", want: "at home"},
		{from: db, address: "localhost:6001", want: "at home by IPv6"},
		{from: web, address: "localhost:6000", fail: "connection refused"},
		{from: web, address: "172.20.0.3:81", fail: "connection refused"},
		{from: web, address: "192.0.2.1:80", fail: "network is unreachable"},
		{from: web, address: "db:80", fail: "give an IP address"},
		{from: web, address: "db", fail: "give an address and a port"},
	} {
		got, err := networktest.Ask(t.Context(), tt.from, tt.address)
		if got != tt.want || (err == nil) != (tt.fail == "") || err != nil && !strings.Contains(err.Error(), tt.fail) {
			t.Errorf("%s: got %q, %v; want %q, %q", tt.address, got, err, tt.want, tt.fail)
		}
	}
}
