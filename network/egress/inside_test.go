package egress

import (
	"net/netip"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/network/names"
	"github.com/sandboxrun/sandboxrun/network/networktest"
)

func TestIntervals(t *testing.T) {
	for _, tt := range []struct {
		name     string
		prefixes []string
		want     []string
	}{
		{"none", nil, nil},
		{"of the other family", []string{"::/0"}, nil},
		{"one host", []string{"10.0.0.1/32"}, []string{"10.0.0.1", "10.0.0.2 end"}},
		{"everything has no end", []string{"0.0.0.0/0"}, []string{"0.0.0.0"}},
		{"the last address", []string{"255.255.255.255/32"}, []string{"255.255.255.255"}},
		{"one within the other", []string{"10.1.0.0/16", "10.0.0.0/8"}, []string{"10.0.0.0", "11.0.0.0 end"}},
		{"twice", []string{"10.0.0.0/8", "10.0.0.0/8"}, []string{"10.0.0.0", "11.0.0.0 end"}},
		{
			"neighbours", []string{"10.0.0.0/9", "10.128.0.0/9"},
			[]string{"10.0.0.0", "10.128.0.0 end", "10.128.0.0", "11.0.0.0 end"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var all []netip.Prefix
			for _, p := range tt.prefixes {
				all = append(all, netip.MustParsePrefix(p))
			}
			var got []string
			for _, e := range intervals(all, true) {
				a, _ := netip.AddrFromSlice(e.Key)
				text := a.String()
				if e.IntervalEnd {
					text += " end"
				}
				got = append(got, text)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestTheKernelTakesTheIntervals holds that what TestIntervals wants is what nftables can have.
func TestTheKernelTakesTheIntervals(t *testing.T) {
	networktest.Enter(t)
	r := newRules(t, Policy{Prefixes: []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/9"), netip.MustParsePrefix("10.128.0.0/9"), netip.MustParsePrefix("10.1.0.0/16"),
		netip.MustParsePrefix("255.255.255.255/32"), netip.MustParsePrefix("0.0.0.0/32"), netip.MustParsePrefix("::/0"),
		netip.MustParsePrefix("fd00::/8"),
	}})
	elements, err := r.conn.GetSetElements(&nftables.Set{Table: r.table, Name: "prefixes4"})
	if err != nil || len(elements) < 7 {
		t.Errorf("got %d elements, %v", len(elements), err)
	}
}

func TestAnAddressThatIsResolvedAgainLastsLonger(t *testing.T) {
	networktest.Enter(t)
	r := newRules(t, Policy{Names: []string{"example.com"}})
	address := netip.MustParseAddr("192.0.2.1")
	learn := func(ttl time.Duration, at time.Time) time.Duration {
		t.Helper()
		r.mu.Lock()
		defer r.mu.Unlock()
		if err := r.learnLocked(names.Resolved{Address: address, TTL: ttl}, at); err != nil {
			t.Fatal(err)
		}
		elements, err := r.conn.GetSetElements(r.learned4)
		if err != nil || len(elements) != 1 {
			t.Fatalf("got %d elements, %v", len(elements), err)
		}
		return elements[0].Timeout
	}
	now := time.Now()
	if got := learn(time.Minute, now); got != grace+time.Minute {
		t.Errorf("lasts %v at first", got)
	}
	if got := learn(time.Minute, now.Add(time.Second)); got != grace+time.Minute {
		t.Errorf("lasts %v, a second later", got)
	}
	if got := learn(time.Hour, now.Add(2*time.Second)); got != grace+time.Hour {
		t.Errorf("lasts %v with a longer TTL", got)
	}
	// The kernel has forgotten it, and we have not yet.
	if err := r.conn.SetDeleteElements(r.learned4, []nftables.SetElement{{Key: address.AsSlice()}}); err != nil {
		t.Fatal(err)
	}
	if err := r.conn.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := learn(time.Minute, now.Add(time.Hour+grace)); got != grace+time.Minute {
		t.Errorf("lasts %v after it was forgotten", got)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.learnLocked(names.Resolved{Address: netip.MustParseAddr("2001:db8::1")}, now.Add(48*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if len(r.until) != 1 {
		t.Errorf("%d addresses are remembered, want the last alone", len(r.until))
	}
}

func TestWithoutTablesThereIsNothingOfThemToRemove(t *testing.T) {
	networktest.Enter(t)
	h, err := openHost()
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	if h.nft == nil {
		t.Fatal("this kernel has no nf_tables")
	}
	if err := h.nft.CloseLasting(); err != nil {
		t.Fatal(err)
	}
	h.nft = nil
	if err := h.remove("key"); err != nil {
		t.Error(err)
	}
	for err, want := range map[error]bool{
		os.NewSyscallError("socket", unix.EPROTONOSUPPORT): true, unix.EINVAL: true, unix.EPERM: false, unix.ENOENT: false,
	} {
		if isUnsupported(err) != want {
			t.Errorf("%v: want %v", err, want)
		}
	}
}

func newRules(t *testing.T, policy Policy) *Rules {
	t.Helper()
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		t.Fatal(err)
	}
	r := &Rules{
		policy: policy, conn: conn, until: map[netip.Addr]time.Time{},
		table: &nftables.Table{Family: nftables.TableFamilyINet, Name: insideTable},
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := r.addTable([]Network{{Bridge: "front"}}); err != nil {
		t.Fatal(err)
	}
	return r
}
