package supervisor

import (
	"fmt"

	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/network"
	"github.com/sandboxrun/sandboxrun/network/egress"
)

// lost tells that somebody has taken a part of the network away. It is not put back:
// whoever did it can do it again, and connections are broken all the same.
func (w *wiring) lost(r network.Removal) {
	switch {
	case r.Bridge != "":
		w.lostBridge(r.Bridge)
	case r.Namespace != nil:
		w.mu.Lock()
		i := w.namespaces[r.Namespace]
		w.mu.Unlock()
		if i != nil {
			w.lostInterface(i, r.Interface)
		}
	case r.Interface == egress.Uplink && w.env.handover.Egress != nil:
		w.env.networkLost(nil, "", fmt.Sprintf("the way out was removed: the host's interface %s is gone", w.env.handover.Egress.Interface))
	}
}

func (w *wiring) lostBridge(bridge string) {
	for _, n := range w.env.handover.Plan.Networks {
		if n.Bridge == bridge {
			w.env.networkLost(nil, n.Name, fmt.Sprintf("network %s was removed: its bridge %s is gone", n.Name, bridge))
		}
	}
}

func (w *wiring) lostInterface(i *instance, name string) {
	for _, a := range i.plan.Attachments {
		if a.Interface == name {
			w.env.networkLost(i, a.Network, fmt.Sprintf("its interface %s on network %s was removed", name, a.Network))
		}
	}
}

// networkLost tells it of one instance, or of all (nil) that are on the network.
func (s *supervisor) networkLost(of *instance, name, what string) {
	event, sentence := control.Event{Kind: control.EventNetwork, Detail: what}, what
	if of != nil {
		event.Service, event.Instance = of.service.Name, of.plan.Name
		sentence = of.plan.Name + ": " + what
	}
	s.log.Warn("the network was taken away", "what", sentence)
	s.update(func() {
		s.status.NetworkLost = append(s.status.NetworkLost, sentence)
		for _, i := range s.instances {
			for _, a := range i.plan.Attachments {
				if a.Network == name && (of == nil || of == i) {
					i.networkLost = append(i.networkLost, name)
				}
			}
		}
		s.publish(event)
	})
}
