package network_test

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/sandboxrun/sandboxrun/network"
)

func TestServicesReachEachOtherByTheirAddresses(t *testing.T) {
	stack := openStack(t)
	addBridge(t, stack, "front", "172.20.0.1/16", "fd00:20::1/64")
	web := addService(t, stack, network.Interface{
		Name: "eth0", Bridge: "front", Addresses: prefixes("172.20.0.2/16", "fd00:20::2/64"),
	})
	db := addService(t, stack, network.Interface{
		Name: "eth0", Bridge: "front", Addresses: prefixes("172.20.0.3/16", "fd00:20::3/64"),
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
		got, err := ask(t.Context(), tt.from, tt.address)
		if got != tt.want || (err == nil) != (tt.fail == "") || err != nil && !strings.Contains(err.Error(), tt.fail) {
			t.Errorf("%s: got %q, %v; want %q, %q", tt.address, got, err, tt.want, tt.fail)
		}
	}
}

// ask connects from a namespace and reads until the end.
func ask(ctx context.Context, n *network.Namespace, address string) (string, error) {
	c, err := n.DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	all, err := io.ReadAll(c)
	return string(all), err
}
