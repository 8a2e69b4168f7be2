package network

import (
	"net/netip"
	"testing"
)

func FuzzDiagAddress(f *testing.F) {
	f.Add(make([]byte, diagAnswerLength))
	f.Add([]byte{2, 10, 0, 0, 0, 80})
	f.Add(append([]byte{10, 10, 0, 0, 0, 80, 0, 0}, make([]byte, 64)...))
	f.Fuzz(func(t *testing.T, payload []byte) {
		a, err := diagAddress(payload)
		if (err == nil) != a.IsValid() {
			t.Errorf("%x: got %v, %v", payload, a, err)
		}
		if err != nil && a != (netip.AddrPort{}) {
			t.Errorf("%x: got %v with an error", payload, a)
		}
	})
}
