package service

import (
	"fmt"
	"math"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sandboxrun/sandboxrun/cgroup"
)

func errorf(format string, args ...any) error { return fmt.Errorf(format, args...) }

type keyReader = func(r *reader, n *node, s *Service)

// serviceKeys are the keys of a service.
func serviceKeys() map[string]keyReader {
	return map[string]keyReader{
		// The source is put together by whole, once x-sandbox is read.
		"image":     func(r *reader, n *node, _ *Service) { r.word(n, "image") },
		"x-sandbox": readSandbox,
		"platform":  func(r *reader, n *node, s *Service) { s.Platform = r.word(n, "platform") },

		"command":     func(r *reader, n *node, s *Service) { s.Command = r.command(n, "command") },
		"entrypoint":  func(r *reader, n *node, s *Service) { s.Entrypoint = r.command(n, "entrypoint") },
		"environment": readEnvironment,
		"env_file":    readEnvFiles,
		"user":        func(r *reader, n *node, s *Service) { s.User = r.word(n, "user") },
		"group_add":   func(r *reader, n *node, s *Service) { s.GroupAdd = r.list(n, "group_add") },
		"working_dir": func(r *reader, n *node, s *Service) { s.WorkingDir = r.target(n, "working_dir") },
		"tty":         func(r *reader, n *node, s *Service) { s.Terminal = r.yes(n, "tty") },
		// `run` passes its input on in any case.
		"stdin_open":  func(r *reader, n *node, _ *Service) { r.yes(n, "stdin_open") },
		"stop_signal": func(r *reader, n *node, s *Service) { s.StopSignal = r.word(n, "stop_signal") },
		"init": func(r *reader, n *node, _ *Service) {
			if r.yes(n, "init") {
				r.addf(n.yaml, "init is not of the bundle: leave it out and use `sandboxrun run --init`")
			}
		},

		"volumes":   readVolumes,
		"tmpfs":     readTmpfs,
		"secrets":   readSecrets,
		"read_only": func(r *reader, n *node, s *Service) { s.ReadOnly = r.yes(n, "read_only") },

		"cap_add":      func(r *reader, n *node, s *Service) { s.CapAdd = r.capabilities(n, "cap_add") },
		"cap_drop":     func(r *reader, n *node, s *Service) { s.CapDrop = r.capabilities(n, "cap_drop") },
		"security_opt": readSecurityOptions,

		"mem_limit":       func(r *reader, n *node, s *Service) { s.Limits.MemoryBytes = r.bytes(n, "mem_limit") },
		"memswap_limit":   func(r *reader, n *node, s *Service) { s.Limits.MemorySwapBytes = r.bytes(n, "memswap_limit") },
		"mem_reservation": func(r *reader, n *node, s *Service) { s.MemoryReservation = r.size(n, "mem_reservation") },
		"shm_size":        func(r *reader, n *node, s *Service) { s.ShmSize = r.size(n, "shm_size") },
		"cpus":            func(r *reader, n *node, s *Service) { s.Limits.CPUs = limit(r, n, "cpus", cgroup.ParseCPUs) },
		"cpuset":          readCpuset,
		"cpu_shares":      func(r *reader, n *node, s *Service) { s.CPUShares = uint64(r.integer(n, "cpu_shares", 2, 262144)) },
		"pids_limit":      func(r *reader, n *node, s *Service) { s.Limits.Pids = limit(r, n, "pids_limit", cgroup.ParsePids) },
		"deploy":          readDeploy,
		"oom_score_adj": func(r *reader, n *node, s *Service) {
			value := int(r.integer(n, "oom_score_adj", -1000, 1000))
			s.OOMScoreAdj = &value
		},
		"ulimits": readUlimits,
		"sysctls": func(r *reader, n *node, s *Service) { s.Sysctls = r.pairs(n, "sysctls") },

		"hostname":     func(r *reader, n *node, s *Service) { s.Hostname = r.word(n, "hostname") },
		"domainname":   func(r *reader, n *node, s *Service) { s.Domainname = r.word(n, "domainname") },
		"extra_hosts":  readExtraHosts,
		"network_mode": readNetworkMode,
		"labels":       func(r *reader, n *node, s *Service) { s.Labels = r.pairs(n, "labels") },
		"annotations":  func(r *reader, n *node, s *Service) { s.Annotations = r.pairs(n, "annotations") },
	}
}

// otherKeys are keys of the Compose specification that one bundle cannot have, and
// why.
func otherKeys() map[string]string {
	const environment = "it is of an environment of several services"
	const notYet = "it is not supported"
	all := map[string]string{
		"build":             "nothing is built here; give an image, or x-sandbox with base and files",
		"container_name":    "name the container at its start: sandboxrun run BUNDLE NAME",
		"healthcheck":       "nobody would ask; " + environment,
		"restart":           "a service manager restarts what `sandboxrun run` ends with",
		"stop_grace_period": "give it at the start: sandboxrun run --stop-timeout",
		"pull_policy":       "give it to the command: sandboxrun bundle build --pull",
		"privileged":        "a sandbox that may do everything is none; name capabilities in cap_add",
		"configs":           "write the file in x-sandbox.files",
		"mem_swappiness":    notYet + "; use --set linux.resources.memory.swappiness=N",
		"blkio_config":      notYet + "; use --set, or run --io-max",
		"cpu_quota":         "write cpus",
		"cpu_period":        "write cpus",
		"oom_kill_disable":  "a sandbox that is out of memory and lives hangs",
		"devices":           notYet + "; use --set linux.devices=[...]",
		"isolation":         "it is of Windows",
		"credential_spec":   "it is of Windows",
	}
	for _, key := range []string{
		"attach", "depends_on", "deploy.replicas", "develop", "dns", "dns_opt", "dns_search", "expose", "extends", "links",
		"external_links", "logging", "mac_address", "networks", "ports", "profiles", "provider", "scale", "volumes_from", "post_start", "pre_stop",
	} {
		all[key] = environment
	}
	for _, key := range []string{
		"cgroup", "cgroup_parent", "cpu_count", "cpu_percent", "cpu_rt_period", "cpu_rt_runtime", "device_cgroup_rules", "gpus", "ipc",
		"pid", "runtime", "storage_opt", "userns_mode", "uts", "label_file",
	} {
		all[key] = notYet
	}
	return all
}

func readCpuset(r *reader, n *node, s *Service) {
	value, err := cgroup.ParseCpuset(r.word(n, "cpuset"))
	if err != nil {
		r.addf(n.yaml, "cpuset: %v", err)
	}
	s.Limits.Cpuset = value
}

// readDeploy takes the limits of deploy.resources, and nothing else of deploy.
func readDeploy(r *reader, n *node, s *Service) {
	r.only(n, "deploy", map[string]func(*node){
		"resources": func(n *node) {
			r.only(n, "deploy.resources", map[string]func(*node){
				"limits": func(n *node) {
					r.only(n, "deploy.resources.limits", map[string]func(*node){
						"cpus":   func(n *node) { s.Limits.CPUs = limit(r, n, "deploy.resources.limits.cpus", cgroup.ParseCPUs) },
						"memory": func(n *node) { s.Limits.MemoryBytes = r.bytes(n, "deploy.resources.limits.memory") },
						"pids":   func(n *node) { s.Limits.Pids = limit(r, n, "deploy.resources.limits.pids", cgroup.ParsePids) },
					})
				},
				"reservations": func(n *node) {
					r.only(n, "deploy.resources.reservations", map[string]func(*node){
						"memory": func(n *node) { s.MemoryReservation = r.size(n, "deploy.resources.reservations.memory") },
					})
				},
			})
		},
	})
}

func readUlimits(r *reader, n *node, s *Service) {
	if n.kind != mapping {
		r.addf(n.yaml, "ulimits must be a mapping of names to numbers")
		return
	}
	for _, e := range n.entries {
		u := Ulimit{Name: e.key.Value}
		at := "ulimits." + u.Name
		if e.value.kind == mapping {
			r.only(e.value, at, map[string]func(*node){
				"soft": func(n *node) { u.Soft = r.ulimit(n, at+".soft") },
				"hard": func(n *node) { u.Hard = r.ulimit(n, at+".hard") },
			})
		} else {
			u.Soft = r.ulimit(e.value, at)
			u.Hard = u.Soft
		}
		s.Ulimits = append(s.Ulimits, u)
	}
}

func (r *reader) ulimit(n *node, at string) uint64 {
	text := r.word(n, at)
	if text == "-1" || text == "unlimited" {
		return math.MaxUint64
	}
	value, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		r.addf(n.yaml, "%s must be a whole number, or -1 for no limit, not %q", at, text)
	}
	return value
}

func readSecurityOptions(r *reader, n *node, s *Service) {
	for _, item := range r.items(n, "security_opt") {
		read := func(file string) ([]byte, error) { return r.options.ReadFile(r.hostPath(file)) }
		if err := s.SetSecurityOption(r.text(item, "security_opt"), read); err != nil {
			r.addf(item.yaml, "%v", err)
		}
	}
}

// SetSecurityOption sets what an item of security_opt says: no-new-privileges,
// seccomp=FILE or unconfined, apparmor=PROFILE; a colon does for the equals sign.
// readFile gives the content of a seccomp profile by its path as written.
func (s *Service) SetSecurityOption(option string, readFile func(string) ([]byte, error)) error {
	key, value, found := strings.Cut(option, "=")
	if k, v, ok := strings.Cut(option, ":"); ok && (!found || len(k) < len(key)) {
		key, value = k, v
	}
	switch key {
	case "no-new-privileges":
		set := value != "false"
		if value != "" && value != "true" && value != "false" {
			return errorf("security_opt: no-new-privileges is true or false, not %q", value)
		}
		s.NoNewPrivileges = &set
	case "seccomp":
		if s.SeccompUnconfined = value == "unconfined"; s.SeccompUnconfined {
			return nil
		}
		data, err := readFile(value)
		if err != nil {
			return errorf("security_opt: cannot read the seccomp profile: %w", err)
		}
		s.SeccompProfile = data
	case "apparmor":
		s.AppArmorProfile = value
	default:
		return errorf("security_opt %q is not supported; there are no-new-privileges, seccomp and apparmor", option)
	}
	return nil
}

func readNetworkMode(r *reader, n *node, s *Service) {
	switch mode := r.word(n, "network_mode"); mode {
	case "none":
	case "host":
		s.HostNetwork = true
	default:
		r.addf(n.yaml, "network_mode %q is of an environment of several services; a bundle has none (its own, with a loopback interface only) or host", mode)
	}
}

func readExtraHosts(r *reader, n *node, s *Service) {
	add := func(at *node, name, address string) {
		address = strings.Trim(address, "[]")
		if _, err := netip.ParseAddr(address); err != nil || name == "" || strings.ContainsAny(name, " \t\n#") {
			r.addf(at.yaml, "extra_hosts: %q is not NAME=ADDRESS with an IP address", name+"="+address)
			return
		}
		s.ExtraHosts = append(s.ExtraHosts, Host{Name: name, Address: address})
	}
	if n.kind == mapping {
		for _, e := range n.entries {
			for _, item := range r.items(e.value, "extra_hosts") {
				add(item, e.key.Value, r.text(item, "extra_hosts"))
			}
		}
		return
	}
	for _, item := range r.items(n, "extra_hosts") {
		text := r.text(item, "extra_hosts")
		name, address, found := strings.Cut(text, "=")
		if !found {
			name, address, _ = strings.Cut(text, ":")
		}
		add(item, name, address)
	}
}

// readSandbox reads our own part: where the root filesystem comes from.
func readSandbox(r *reader, n *node, s *Service) {
	set := func(text string) {
		if s.Source.Text != "" {
			r.addf(n.yaml, "x-sandbox: one of rootfs, binary, host and base is enough")
		}
		s.Source.Text, s.Source.Dir = text, r.options.Dir
	}
	r.only(n, "x-sandbox", map[string]func(*node){
		"rootfs": func(n *node) { set(r.hostPath(r.word(n, "x-sandbox.rootfs"))) },
		"binary": func(n *node) { set("binary:" + r.hostPath(r.word(n, "x-sandbox.binary"))) },
		"base":   func(n *node) { set(r.word(n, "x-sandbox.base")) },
		"host": func(n *node) {
			if r.yes(n, "x-sandbox.host") {
				set("host:")
			}
		},
		"files": func(n *node) { s.Source.Files = r.files(n) },
	})
}

func (r *reader) files(n *node) []File {
	var files []File
	for _, item := range r.items(n, "x-sandbox.files") {
		const at = "x-sandbox.files"
		var f File
		if item.kind != mapping {
			parts := strings.Split(r.text(item, at), ":")
			if len(parts) < 2 || len(parts) > 3 || parts[0] == "" || !filepath.IsAbs(parts[1]) {
				r.addf(item.yaml, "%s: %q is not PATH:TARGET or PATH:TARGET:MODE with an absolute target", at, item.text)
				continue
			}
			f.Path, f.Target = r.hostPath(parts[0]), parts[1]
			if len(parts) == 3 {
				f.Mode = r.mode(item, parts[2], at)
			}
			files = append(files, f)
			continue
		}
		r.only(item, at, map[string]func(*node){
			"source":    func(n *node) { f.Path = r.hostPath(r.word(n, at+".source")) },
			"content":   func(n *node) { f.Content = r.text(n, at+".content") },
			"directory": func(n *node) { f.Directory = r.yes(n, at+".directory") },
			"target":    func(n *node) { f.Target = r.target(n, at+".target") },
			"uid":       func(n *node) { f.UID = int(r.integer(n, at+".uid", 0, math.MaxUint32-1)) },
			"gid":       func(n *node) { f.GID = int(r.integer(n, at+".gid", 0, math.MaxUint32-1)) },
			"mode":      func(n *node) { f.Mode = r.mode(n, r.word(n, at+".mode"), at+".mode") },
		})
		sources := 0
		for _, given := range []bool{f.Path != "", item.get("content") != nil, f.Directory} {
			if given {
				sources++
			}
		}
		if f.Target == "" || sources != 1 {
			r.addf(item.yaml, "%s: an entry needs target, and one of source, content and directory", at)
			continue
		}
		files = append(files, f)
	}
	if i := slices.IndexFunc(files, func(f File) bool { return filepath.Clean(f.Target) == "/" && f.Content != "" }); i >= 0 {
		r.addf(n.yaml, "x-sandbox.files: / cannot be a file")
	}
	return files
}
