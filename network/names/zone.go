package names

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// Instance is one container as the server sees it.
type Instance struct {
	Attachments []Attachment
	// Upstreams are asked for what the environment does not know, before those of Options.
	Upstreams []netip.AddrPort
}

// Attachment is one address of an instance, or one of each family, and what it is called there. The first name is what
// its address resolves to.
type Attachment struct {
	Network   string
	Addresses []netip.Addr
	Names     []string
}

// zone is what is known of the environment. It is safe for several goroutines.
type zone struct {
	mu        sync.Mutex
	networks  map[string]Network   // guarded by mu
	instances map[string]Instance  // guarded by mu
	owners    map[netip.Addr]owner // guarded by mu; who has an address
	records   map[key]*record      // guarded by mu
}

// key is a name on a network, in lower case.
type key struct{ network, name string }

// record is who has a name, the two families apart.
type record struct {
	v4, v6 addresses
}

// addresses is a list that begins elsewhere each time.
type addresses struct {
	all  []netip.Addr
	turn int
}

// owner is who has an address, and the name that the address resolves to.
type owner struct {
	instance, network, name string
}

// source is where a question comes from: the client's address, and the network on whose gateway it was asked.
type source struct {
	address netip.Addr
	network string
}

func newZone() *zone {
	return &zone{
		networks: map[string]Network{}, instances: map[string]Instance{}, owners: map[netip.Addr]owner{}, records: map[key]*record{},
	}
}

func (z *zone) addNetwork(n Network) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.networks[n.Name] = n
}

func (z *zone) set(name string, instance Instance) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.removeLocked(name)
	z.instances[name] = instance
	for _, at := range instance.Attachments {
		for _, n := range canonical(at.Names) {
			k := key{at.Network, n}
			r := z.records[k]
			if r == nil {
				r = &record{}
				z.records[k] = r
			}
			for _, a := range at.Addresses {
				list := r.family(a)
				list.all = append(list.all, a)
			}
		}
		for _, a := range at.Addresses {
			o := owner{instance: name, network: at.Network}
			if len(at.Names) > 0 {
				o.name = at.Names[0]
			}
			z.owners[a] = o
		}
	}
}

func (z *zone) remove(name string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.removeLocked(name)
}

func (z *zone) removeLocked(name string) {
	for _, at := range z.instances[name].Attachments {
		for _, n := range canonical(at.Names) {
			k := key{at.Network, n}
			r := z.records[k]
			if r == nil {
				continue // a name without addresses went with another instance that had it
			}
			for _, a := range at.Addresses {
				list := r.family(a)
				// One, not all: who else has the address by mistake keeps it.
				if i := slices.Index(list.all, a); i >= 0 {
					list.all = slices.Delete(list.all, i, i+1)
				}
			}
			if len(r.v4.all)+len(r.v6.all) == 0 {
				delete(z.records, k)
			}
		}
		for _, a := range at.Addresses {
			if z.owners[a].instance == name {
				delete(z.owners, a)
			}
		}
	}
	delete(z.instances, name)
}

// canonical gives names as they are looked up, each once.
func canonical(names []string) []string {
	lower := make([]string, 0, len(names))
	for _, n := range names {
		if n = strings.ToLower(n); !slices.Contains(lower, n) {
			lower = append(lower, n)
		}
	}
	return lower
}

func (r *record) family(a netip.Addr) *addresses {
	if a.Is4() {
		return &r.v4
	}
	return &r.v6
}

// next gives all addresses, beginning with another one each time.
func (a *addresses) next() []netip.Addr {
	if len(a.all) == 0 {
		return nil
	}
	first := a.turn % len(a.all)
	a.turn++
	return slices.Concat(a.all[first:], a.all[:first])
}

// lookup gives a name's addresses of the families that are wanted, as a client sees them: on each network that it is
// attached to, the one where it asks first. found says that the name exists, whatever its addresses. "web.front" is web on
// the network front.
func (z *zone) lookup(from source, name string, want4, want6 bool) (found bool, all []netip.Addr) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, network := range z.viewLocked(from) {
		r := z.records[key{network, name}]
		if r == nil {
			if short, ok := strings.CutSuffix(name, "."+strings.ToLower(network)); ok {
				r = z.records[key{network, short}]
			}
		}
		if r == nil {
			continue
		}
		found = true
		if want4 {
			all = append(all, r.v4.next()...)
		}
		if want6 {
			all = append(all, r.v6.next()...)
		}
	}
	return found, all
}

// viewLocked gives the networks whose names a client sees. Who has no address of ours asks from the environment itself, and
// sees the network of the gateway.
func (z *zone) viewLocked(from source) []string {
	networks := []string{from.network}
	if o, known := z.owners[from.address]; known {
		for _, at := range z.instances[o.instance].Attachments {
			if at.Network != from.network {
				networks = append(networks, at.Network)
			}
		}
	}
	return networks
}

// reverse gives the name of an address, "" if there is none to be seen by this client. ours says that the address belongs to
// the environment, so that nobody else can know it.
func (z *zone) reverse(from source, a netip.Addr) (name string, ours bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, n := range z.networks {
		ours = ours || slices.ContainsFunc(n.Subnets, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	o, known := z.owners[a]
	if known && slices.Contains(z.viewLocked(from), o.network) {
		return o.name, true
	}
	return "", ours || known
}

// outside says whether a client may ask outside at all, and the resolvers that it has of its own.
func (z *zone) outside(from source) (allowed bool, upstreams []netip.AddrPort) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, network := range z.viewLocked(from) {
		if n, known := z.networks[network]; known && !n.Internal {
			allowed = true
		}
	}
	return allowed, z.instances[z.owners[from.address].instance].Upstreams
}
