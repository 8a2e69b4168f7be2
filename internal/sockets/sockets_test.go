package sockets

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestWaitingFindsOwnSockets(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", "[::]:0"} {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Logf("%s: %v", address, err) // a kernel without IPv6
			continue
		}
		defer listener.Close()
		requireOwn(t, "tcp", listener.Addr().(*net.TCPAddr).AddrPort())
		packets, err := net.ListenPacket("udp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer packets.Close()
		requireOwn(t, "udp", packets.LocalAddr().(*net.UDPAddr).AddrPort())
	}
}

func requireOwn(t *testing.T, protocol string, address netip.AddrPort) {
	t.Helper()
	all, err := Waiting(protocol)
	if err != nil {
		t.Fatal(err)
	}
	found := Conflicts(all, address)
	if len(found) != 1 || found[0].Local != address {
		t.Fatalf("%s %s: found %v", protocol, address, found)
	}
	holders, err := Holders(found)
	if err != nil || len(holders) != 1 || holders[0].Pid != os.Getpid() || holders[0].Name == "" {
		t.Errorf("holders of %s: %v, %v", address, holders, err)
	}
}

func TestConflicts(t *testing.T) {
	at := func(text string) Socket { return Socket{Local: netip.MustParseAddrPort(text)} }
	list := []Socket{at("127.0.0.1:80"), at("10.0.0.1:80"), at("0.0.0.0:81"), at("[::]:82"), at("[::1]:80"), at("127.0.0.1:83")}
	tests := []struct {
		address string
		want    []Socket
	}{
		{"127.0.0.1:80", []Socket{list[0]}},
		{"0.0.0.0:80", []Socket{list[0], list[1]}},
		{"127.0.0.1:81", []Socket{list[2]}},
		{"127.0.0.1:82", []Socket{list[3]}},
		{"[::]:80", []Socket{list[4]}},
		{"127.0.0.1:84", nil},
	}
	for _, test := range tests {
		if got := Conflicts(list, netip.MustParseAddrPort(test.address)); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.address, got, test.want)
		}
	}
}

const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 42 1 0000000000000000 100 0 0 10 0
   1: 0100007F:1F91 0100007F:0050 01 00000000:00000000 00:00000000 00000000     0        0 43 1 0000000000000000 100 0 0 10 0
`

func TestParse(t *testing.T) {
	got, err := parse(strings.NewReader(table), tcpListen)
	if err != nil || len(got) != 1 || got[0].Inode != 42 || got[0].Local.Port() != 8080 {
		t.Errorf("parse() = %v, %v", got, err)
	}
	for _, bad := range []string{"h\nx\n", strings.Replace(table, "1F90", "XXXX", 1), strings.Replace(table, "0100007F:1F90", "01:1", 1)} {
		if got, err := parse(strings.NewReader(bad), tcpListen); err == nil {
			t.Errorf("%q gave %v", bad, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(table)
	f.Fuzz(func(t *testing.T, text string) {
		found, err := parse(strings.NewReader(text), tcpListen)
		for _, s := range found {
			if err == nil && !s.Local.IsValid() {
				t.Errorf("%v is no address", s)
			}
		}
	})
}
