package bundles

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func (v *validation) mounts() {
	for i, mount := range v.spec.Mounts {
		at := fmt.Sprintf("mounts[%d]", i)
		if mount.Destination == "" {
			v.add(at+".destination", "is missing or empty; set it to an absolute path")
		}
		v.noNull(at+".destination", mount.Destination)
		v.noNull(at+".source", mount.Source)
		v.noNull(at+".type", mount.Type)
	}
}

func (v *validation) list(at, value string) { v.noNull(at, value) }

func (v *validation) linux() {
	if v.spec.Linux == nil {
		return
	}
	seen := map[specs.LinuxNamespaceType]bool{}
	for i, ns := range v.spec.Linux.Namespaces {
		at := fmt.Sprintf("linux.namespaces[%d]", i)
		if seen[ns.Type] {
			v.add(at+".type", "%q is set twice", ns.Type)
		}
		seen[ns.Type] = true
	}
}
