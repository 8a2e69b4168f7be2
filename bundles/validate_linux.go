package bundles

import (
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func (v *validation) mounts() {
	for i, mount := range v.spec.Mounts {
		v.mount(index("mounts", i), mount)
	}
}

// mount accepts a relative destination, which runtime-spec 1.3 forbids: runc takes
// it as relative to the root, warns, and containers that rely on it exist.
func (v *validation) mount(at string, mount specs.Mount) {
	if mount.Destination == "" {
		v.add(at+".destination", "is missing or empty; set it to an absolute path")
	}
	v.noNull(at+".destination", mount.Destination)
	v.noNull(at+".source", mount.Source)
	v.noNull(at+".type", mount.Type)
	for i, option := range mount.Options {
		v.noNull(index(at+".options", i), option)
	}
	isBind := slices.Contains(mount.Options, "bind") || slices.Contains(mount.Options, "rbind")
	switch {
	case isBind:
		v.bindMount(at, mount)
	case mount.Type == "bind":
		v.add(at+".options", "must have \"bind\" or \"rbind\": the type alone doesn't make a bind mount")
	case mount.Type == "" && !slices.Contains(mount.Options, "remount"):
		v.add(at+".type", "is missing or empty; name a file system such as \"tmpfs\", or add the option \"bind\"")
	}
	hasMappings := len(mount.UIDMappings) > 0 || len(mount.GIDMappings) > 0
	isMapped := hasMappings || slices.Contains(mount.Options, "idmap") || slices.Contains(mount.Options, "ridmap")
	if isMapped && !isBind {
		v.add(at+".options", "must have \"bind\" or \"rbind\": only bind mounts can map ids")
	}
	if hasMappings && (len(mount.UIDMappings) == 0 || len(mount.GIDMappings) == 0) {
		v.add(at, "must have both uidMappings and gidMappings, or neither")
	}
	if isMapped && !hasMappings && !v.hasNamespace(specs.UserNamespace) {
		v.add(at, "must have uidMappings and gidMappings: there is no user namespace to take them from")
	}
	v.mappings(at+".uidMappings", mount.UIDMappings)
	v.mappings(at+".gidMappings", mount.GIDMappings)
}

// bindMount refuses options of file systems, which the kernel would ignore. It
// lets those of tmpfs pass, which engines' templates and OCI's validation suite
// put on every mount; package runtime ignores them with a warning.
func (v *validation) bindMount(at string, mount specs.Mount) {
	if mount.Source == "" {
		v.add(at+".source", "is missing or empty; set it to the path to bind")
	}
	for i, option := range mount.Options {
		name, _, hasValue := strings.Cut(option, "=")
		if !slices.Contains(mountOptions, option) && !(hasValue && slices.Contains(tmpfsOptions, name)) {
			v.add(index(at+".options", i), "%q is no option of a bind mount", option)
		}
	}
}

func (v *validation) linux() {
	linux := v.spec.Linux
	if linux == nil {
		v.add("linux", "is missing; without it the program would share all namespaces of the host")
		return
	}
	v.namespaces(linux.Namespaces)
	v.userMappings(linux)
	v.timeOffsets(linux.TimeOffsets)
	v.devices(linux.Devices)
	v.netDevices(linux.NetDevices)
	v.noNull("linux.cgroupsPath", linux.CgroupsPath)
	v.resources(linux.Resources)
	v.sysctl(linux.Sysctl)
	v.seccomp(linux.Seccomp)
	if p := linux.RootfsPropagation; p != "" && !slices.Contains(propagations, p) {
		v.add("linux.rootfsPropagation", "must be one of %s, not %q", join(propagations), p)
	}
	v.insidePaths("linux.maskedPaths", linux.MaskedPaths)
	v.insidePaths("linux.readonlyPaths", linux.ReadonlyPaths)
	if p := linux.Personality; p != nil && p.Domain != specs.PerLinux && p.Domain != specs.PerLinux32 {
		v.add("linux.personality.domain", "must be \"LINUX\" or \"LINUX32\", not %q", p.Domain)
	}
	v.intelRdt(linux.IntelRdt)
	v.memoryPolicy(linux.MemoryPolicy)
}

func (v *validation) namespaces(list []specs.LinuxNamespace) {
	seen := make(map[specs.LinuxNamespaceType]bool, len(list))
	for i, ns := range list {
		at := index("linux.namespaces", i)
		switch {
		case !slices.Contains(namespaceTypes, ns.Type):
			v.add(at+".type", "must be one of %s, not %q", join(namespaceTypes), ns.Type)
		case seen[ns.Type]:
			v.add(at+".type", "%q is listed twice", ns.Type)
		}
		seen[ns.Type] = true
		if ns.Path != "" {
			v.absolute(at+".path", ns.Path)
		}
	}
}

func (v *validation) userMappings(linux *specs.Linux) {
	v.mappings("linux.uidMappings", linux.UIDMappings)
	v.mappings("linux.gidMappings", linux.GIDMappings)
	ns, found := v.namespace(specs.UserNamespace)
	if !found {
		// Some tools leave mappings behind. Nothing uses them; package runtime warns.
		return
	}
	// A namespace to join has its mappings already; some tools repeat them here,
	// and libcontainer compares.
	if ns.Path != "" {
		return
	}
	v.mapsRoot("linux.uidMappings", linux.UIDMappings)
	v.mapsRoot("linux.gidMappings", linux.GIDMappings)
}

// mapsRoot wants container id 0 mapped: libcontainer sets the container up as the
// root of its user namespace (HostRootUID).
func (v *validation) mapsRoot(at string, mappings []specs.LinuxIDMapping) {
	if len(mappings) == 0 {
		v.add(at, "is missing or empty; the new user namespace needs one")
		return
	}
	for _, m := range mappings {
		if m.ContainerID == 0 && m.Size > 0 {
			return
		}
	}
	v.add(at, "must map container id 0: the sandbox is set up as its user namespace's root")
}

// mappings checks what user_namespaces(7) says the kernel refuses.
func (v *validation) mappings(at string, mappings []specs.LinuxIDMapping) {
	const most = 340
	if len(mappings) > most {
		v.add(at, "must have at most %d entries, not %d", most, len(mappings))
		return
	}
	for i, m := range mappings {
		at := index(at, i)
		if m.Size == 0 {
			v.add(at+".size", "must be more than 0")
		}
		for j, other := range mappings[:i] {
			if overlap(m.ContainerID, m.Size, other.ContainerID, other.Size) {
				v.add(at+".containerID", "overlaps with the entry %d", j)
			}
			if overlap(m.HostID, m.Size, other.HostID, other.Size) {
				v.add(at+".hostID", "overlaps with the entry %d", j)
			}
		}
	}
}

func overlap(a, aSize, b, bSize uint32) bool {
	return uint64(a) < uint64(b)+uint64(bSize) && uint64(b) < uint64(a)+uint64(aSize)
}

func (v *validation) timeOffsets(offsets map[string]specs.LinuxTimeOffset) {
	if len(offsets) == 0 {
		return
	}
	if ns, found := v.namespace(specs.TimeNamespace); !found {
		v.add("linux.timeOffsets", "needs a namespace of type \"time\" in linux.namespaces")
	} else if ns.Path != "" {
		v.add("linux.timeOffsets", "can't be set for a time namespace that is joined by its path")
	}
	for _, clock := range sortedKeys(offsets) {
		at := joinKey("linux.timeOffsets", clock)
		if clock != "monotonic" && clock != "boottime" {
			v.add(at, "must be \"monotonic\" or \"boottime\"")
		}
		if offsets[clock].Nanosecs >= 1_000_000_000 {
			v.add(at+".nanosecs", "must be less than 1000000000, not %d", offsets[clock].Nanosecs)
		}
	}
}

func (v *validation) devices(devices []specs.LinuxDevice) {
	for i, device := range devices {
		at := index("linux.devices", i)
		v.absolute(at+".path", device.Path)
		if !slices.Contains(deviceTypes, device.Type) {
			v.add(at+".type", "must be one of %s, not %q", join(deviceTypes), device.Type)
			continue
		}
		if device.Type == "p" {
			continue
		}
		v.deviceNumber(at+".major", device.Major)
		v.deviceNumber(at+".minor", device.Minor)
	}
}

func (v *validation) deviceNumber(at string, number int64) {
	// mknod(2) takes 32 bits of each.
	if number < 0 || number > 1<<32-1 {
		v.add(at, "must be from 0 to %d, not %d", uint32(1<<32-1), number)
	}
}

// netDevices follows the kernel's dev_valid_name.
func (v *validation) netDevices(devices map[string]specs.LinuxNetDevice) {
	if len(devices) > 0 && !v.hasNamespace(specs.NetworkNamespace) {
		v.add("linux.netDevices", "needs a namespace of type \"network\" in linux.namespaces")
	}
	for _, name := range sortedKeys(devices) {
		at := joinKey("linux.netDevices", name)
		if !validInterfaceName(name) {
			v.add(at, "must be an interface name of 1 to 15 bytes without '/', ':' and white space")
		}
		if inside := devices[name].Name; inside != "" && !validInterfaceName(inside) {
			v.add(at+".name", "must be an interface name of 1 to 15 bytes without '/', ':' and white space, not %q", inside)
		}
	}
}

func validInterfaceName(name string) bool {
	return name != "" && len(name) < 16 && name != "." && name != ".." && !strings.ContainsAny(name, "/: \t\n\v\f\r\x00")
}

// insidePaths are opened below the sandbox's root.
func (v *validation) insidePaths(at string, paths []string) {
	for i, path := range paths {
		v.absolute(index(at, i), path)
	}
}

// sysctl keeps settings of the host out of reach, by libcontainer's own rule: only
// what belongs to a namespace of the sandbox. Whether a joined network namespace is
// the host's is left to libcontainer, which looks at it.
func (v *validation) sysctl(settings map[string]string) {
	for _, key := range sortedKeys(settings) {
		at := joinKey("linux.sysctl", key)
		v.noNull(at, settings[key])
		name := dottedSysctl(key)
		switch {
		case strings.HasPrefix(name, "fs.mqueue.") || slices.Contains(ipcSysctls, name):
			v.sysctlNeeds(at, specs.IPCNamespace)
		case strings.HasPrefix(name, "net."):
			v.sysctlNeeds(at, specs.NetworkNamespace)
		case strings.HasPrefix(name, "user."):
			v.sysctlNeeds(at, specs.UserNamespace)
		case name == "kernel.domainname":
			v.sysctlNeeds(at, specs.UTSNamespace)
		case name == "kernel.hostname":
			v.add(at, "must be set as hostname instead")
		default:
			v.add(at, "belongs to no namespace: setting it would change the host")
		}
	}
}

func (v *validation) sysctlNeeds(at string, kind specs.LinuxNamespaceType) {
	if !v.hasNamespace(kind) {
		v.add(at, "needs a namespace of type %q in linux.namespaces: setting it would change the host", kind)
	}
}

// dottedSysctl returns key with dots between its parts. As in sysctl.d(5), the
// first separator tells which form it has: net/ipv4/conf/eth0.1/rp_filter is
// net.ipv4.conf.eth0/1.rp_filter.
func dottedSysctl(key string) string {
	first := strings.IndexAny(key, "./")
	if first < 0 || key[first] == '.' {
		return key
	}
	return strings.Map(func(r rune) rune {
		switch r {
		case '.':
			return '/'
		case '/':
			return '.'
		}
		return r
	}, key)
}

func (v *validation) intelRdt(rdt *specs.LinuxIntelRdt) {
	if rdt == nil {
		return
	}
	// "/" is the class of all tasks; anything else is one directory's name.
	if id := rdt.ClosID; id == "." || id == ".." || len(id) > 1 && strings.Contains(id, "/") {
		v.add("linux.intelRdt.closID", "must be \"/\" or a name without a slash, not %q", id)
	}
}

func (v *validation) memoryPolicy(policy *specs.LinuxMemoryPolicy) {
	if policy == nil {
		return
	}
	const at = "linux.memoryPolicy"
	if !slices.Contains(memoryPolicyModes, policy.Mode) {
		v.add(at+".mode", "must be one of %s, not %q", join(memoryPolicyModes), policy.Mode)
	}
	for i, flag := range policy.Flags {
		if !slices.Contains(memoryPolicyFlags, flag) {
			v.add(index(at+".flags", i), "must be one of %s, not %q", join(memoryPolicyFlags), flag)
		}
	}
	v.numberList(at+".nodes", policy.Nodes)
	switch policy.Mode {
	case specs.MpolDefault, specs.MpolLocal:
		if policy.Nodes != "" {
			v.add(at+".nodes", "must be empty for %s, not %q", policy.Mode, policy.Nodes)
		}
	case specs.MpolBind, specs.MpolInterleave, specs.MpolWeightedInterleave, specs.MpolPreferredMany:
		if policy.Nodes == "" {
			v.add(at+".nodes", "is missing or empty; %s needs at least one", policy.Mode)
		}
	}
}
