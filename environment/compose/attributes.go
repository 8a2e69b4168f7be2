package compose

import "strings"

// status is what happens with a key.
type status string

const (
	works   status = "works"
	differs status = "differs" // it is carried out, but not as elsewhere
	noted   status = "noted"   // it changes nothing here, which is told as Ignored
	refused status = "refused" // it is an error, or with IgnoreUnsupported told as Ignored
)

// attribute is what happens with a key of the Compose specification. docs/compose.md
// has the same table.
type attribute struct {
	// path has "*" for names that people choose and "[]" for the items of a list.
	path   string
	status status
	// text says how it differs, or why it is refused and what to do. What follows " | " is for the documentation only.
	text string
	// below makes it the attribute of all keys below, too.
	below bool
}

// attributes are the specification's, in the order of the documentation. Read only.
//
// A key that is in no row, nor below one that says so, is refused: what the
// specification gets new is not silently passed over.
var attributes = []attribute{
	{"version", noted, "the file is read as the newest specification", false},
	{"name", works, "", false},
	{"include", works, "paths in `x-sandbox` of an included file are meant from the project's directory", true},
	{"services", works, "", false},
	{"services.*", works, "", false},
	{"models", refused, "there is no model runner; write a service that serves the model", true},
	{"jobs", refused, "write a service, and wait for it by `depends_on` with `service_completed_successfully`", true},

	{"services.*.annotations", works, "", true},
	{"services.*.attach", works, "", false},
	{"services.*.blkio_config", refused, "I/O has no limits in an environment; leave it out", true},
	{"services.*.build", refused, "nothing is built here; build the image before and name it in `image`, or give `x-sandbox` with `rootfs`, `binary` or `base: docker-archive:FILE` | with a source beside it and no `pull_policy: build` it is noted", true},
	{"services.*.cap_add", works, "", false},
	{"services.*.cap_drop", works, "", false},
	{"services.*.cgroup", refused, "every service has a control group namespace of its own; leave it out", false},
	{"services.*.cgroup_parent", refused, "the control groups of an environment are below its own; leave it out", false},
	{"services.*.command", works, "", false},
	{"services.*.configs", differs, "a file on a tmpfs; its mode is 0444 and its owner root unless said", false},
	{"services.*.configs.[].gid", works, "a number", false},
	{"services.*.configs.[].mode", works, "", false},
	{"services.*.configs.[].source", works, "", false},
	{"services.*.configs.[].target", works, "", false},
	{"services.*.configs.[].uid", works, "a number", false},
	{"services.*.container_name", differs, "unique in its environment, not on the host", false},
	{"services.*.cpu_count", refused, "it is of Windows; write `cpus`", false},
	{"services.*.cpu_percent", refused, "it is of Windows; write `cpus`", false},
	{"services.*.cpu_period", differs, "with `cpu_quota` it gives `cpus`, with the kernel's usual period", false},
	{"services.*.cpu_quota", differs, "with `cpu_period` it gives `cpus`, with the kernel's usual period", false},
	{"services.*.cpu_rt_period", refused, "nothing is scheduled in real time; leave it out", false},
	{"services.*.cpu_rt_runtime", refused, "nothing is scheduled in real time; leave it out", false},
	{"services.*.cpu_shares", works, "", false},
	{"services.*.cpus", works, "", false},
	{"services.*.cpuset", works, "", false},
	{"services.*.credential_spec", refused, "it is of Windows; leave it out", true},
	{"services.*.depends_on", works, "", false},
	{"services.*.depends_on.*", works, "", false},
	{"services.*.depends_on.*.condition", differs, "`service_healthy` waits for `x-sandbox.ready` too; a service with neither is ready when it runs", false},
	{"services.*.depends_on.*.required", works, "", false},
	{"services.*.depends_on.*.restart", differs, "a restart by the restart policy counts, too; compose restarts only when somebody asked for it", false},
	{"services.*.deploy", works, "", false},
	{"services.*.deploy.endpoint_mode", differs, "names resolve to the addresses of all replicas, as by `dnsrr`", false},
	{"services.*.deploy.labels", noted, "labels of a cluster's service are no container's; write `labels`", true},
	{"services.*.deploy.mode", differs, "`replicated`, or `global`, which is one instance", false},
	{"services.*.deploy.placement", noted, "all services are on this machine", true},
	{"services.*.deploy.replicas", works, "", false},
	{"services.*.deploy.resources", works, "", false},
	{"services.*.deploy.resources.limits", works, "", false},
	{"services.*.deploy.resources.limits.cpus", works, "", false},
	{"services.*.deploy.resources.limits.memory", works, "", false},
	{"services.*.deploy.resources.limits.pids", works, "", false},
	{"services.*.deploy.resources.reservations", works, "", false},
	{"services.*.deploy.resources.reservations.cpus", noted, "CPUs are not set aside; `cpu_shares` says who gets more", false},
	{"services.*.deploy.resources.reservations.devices", refused, "a sandbox has the usual devices only; leave it out", true},
	{"services.*.deploy.resources.reservations.generic_resources", refused, "there is no cluster to have them; leave it out", true},
	{"services.*.deploy.resources.reservations.memory", works, "", false},
	{"services.*.deploy.restart_policy", differs, "it takes the place of `restart`", false},
	{"services.*.deploy.restart_policy.condition", works, "", false},
	{"services.*.deploy.restart_policy.delay", works, "", false},
	{"services.*.deploy.restart_policy.max_attempts", works, "", false},
	{"services.*.deploy.restart_policy.window", works, "", false},
	{"services.*.deploy.rollback_config", noted, "an environment is not updated; it is made anew", true},
	{"services.*.deploy.update_config", noted, "an environment is not updated; it is made anew", true},
	{"services.*.develop", noted, "it is of `docker compose watch`", true},
	{"services.*.device_cgroup_rules", refused, "a sandbox has the usual devices only; leave it out", false},
	{"services.*.devices", refused, "a sandbox has the usual devices only; leave it out", true},
	{"services.*.dns", works, "addresses", false},
	{"services.*.dns_opt", works, "", false},
	{"services.*.dns_search", works, "", false},
	{"services.*.domainname", works, "", false},
	{"services.*.entrypoint", works, "", false},
	{"services.*.env_file", works, "", false},
	{"services.*.env_file.[].format", refused, "there is one format; leave it out", false},
	{"services.*.env_file.[].path", works, "", false},
	{"services.*.env_file.[].required", works, "", false},
	{"services.*.environment", works, "", true},
	{"services.*.expose", differs, "every port of a service can be reached by the others on its networks, named here or not", false},
	{"services.*.extends", works, "", true},
	{"services.*.external_links", refused, "an environment is alone; write the service into the file", false},
	{"services.*.extra_hosts", differs, "addresses; `host-gateway` is refused: the host is not to be reached", true},
	{"services.*.gpus", refused, "a sandbox has the usual devices only; leave it out", true},
	{"services.*.group_add", works, "", false},
	{"services.*.healthcheck", works, "what it does not say, the image's HEALTHCHECK says", false},
	{"services.*.healthcheck.disable", works, "", false},
	{"services.*.healthcheck.interval", works, "", false},
	{"services.*.healthcheck.retries", works, "", false},
	{"services.*.healthcheck.start_interval", works, "", false},
	{"services.*.healthcheck.start_period", works, "", false},
	{"services.*.healthcheck.test", works, "", false},
	{"services.*.healthcheck.timeout", works, "", false},
	{"services.*.hostname", differs, "by default the service's name, of replicas `NAME-1` and so on", false},
	{"services.*.image", works, "", false},
	{"services.*.init", works, "", false},
	{"services.*.ipc", differs, "`private`, `shareable` or `service:NAME`; `host`, `none` and `container:` are refused", false},
	{"services.*.isolation", refused, "it is of Windows; leave it out", false},
	{"services.*.label_file", works, "", false},
	{"services.*.labels", works, "they become annotations", true},
	{"services.*.links", differs, "an alias is seen by all services on the networks that both share", false},
	{"services.*.logging", works, "", false},
	{"services.*.logging.driver", differs, "`json-file`, `local` or `none`, which stores and shows nothing; with another it is noted, and output is kept in a file; see `env logs`", false},
	{"services.*.logging.options", differs, "`max-size` and `max-file` of `json-file` and `local`; others are noted. Without them 16 MiB in each of 4 files, with `local` 20 MB in each of 5", true},
	{"services.*.mac_address", works, "of the first interface", false},
	{"services.*.mem_limit", differs, "swap is not limited by it; see `memswap_limit`", false},
	{"services.*.mem_reservation", works, "", false},
	{"services.*.mem_swappiness", refused, "it is of control groups of version 1; leave it out", false},
	{"services.*.memswap_limit", works, "", false},
	{"services.*.models", refused, "there is no model runner; write a service that serves the model", true},
	{"services.*.network_mode", differs, "`none` or `service:NAME`; `host`, `bridge` and `container:` are refused", false},
	{"services.*.networks", works, "", false},
	{"services.*.networks.*", works, "", false},
	{"services.*.networks.*.aliases", works, "", false},
	{"services.*.networks.*.driver_opts", refused, "there is nothing to set; leave it out", true},
	{"services.*.networks.*.gw_priority", noted, "what leaves the environment leaves it by the same way from every network", false},
	{"services.*.networks.*.interface_name", works, "", false},
	{"services.*.networks.*.ipv4_address", works, "", false},
	{"services.*.networks.*.ipv6_address", works, "", false},
	{"services.*.networks.*.link_local_ips", refused, "use `ipv4_address` or `ipv6_address`", false},
	{"services.*.networks.*.mac_address", works, "", false},
	{"services.*.networks.*.priority", works, "the highest has the first interface", false},
	{"services.*.networks.*.use_service_name_alias", works, "", false},
	{"services.*.oom_kill_disable", refused, "a service that is out of memory and lives hangs; leave it out", false},
	{"services.*.oom_score_adj", works, "", false},
	{"services.*.pid", differs, "`service:NAME`; `host` and `container:` are refused", false},
	{"services.*.pids_limit", works, "", false},
	{"services.*.platform", works, "", false},
	{"services.*.ports", differs, "published for the first of several replicas, and on IPv4 unless `host_ip` says otherwise", false},
	{"services.*.ports.[].app_protocol", noted, "it is told to nobody", false},
	{"services.*.ports.[].host_ip", works, "", false},
	{"services.*.ports.[].mode", differs, "`host` and `ingress` are the same", false},
	{"services.*.ports.[].name", works, "", false},
	{"services.*.ports.[].protocol", works, "`tcp` or `udp`", false},
	{"services.*.ports.[].published", works, "of a range, the first free port", false},
	{"services.*.ports.[].target", works, "", false},
	{"services.*.post_start", works, "", false},
	{"services.*.post_start.[].command", works, "", false},
	{"services.*.post_start.[].environment", works, "", true},
	{"services.*.post_start.[].privileged", works, "", false},
	{"services.*.post_start.[].user", works, "", false},
	{"services.*.post_start.[].working_dir", works, "", false},
	{"services.*.pre_start", differs, "a step has what its service has, but for the keys that it may set itself", false},
	{"services.*.pre_start.[].command", works, "", false},
	{"services.*.pre_start.[].environment", works, "", true},
	{"services.*.pre_start.[].image", works, "", false},
	{"services.*.pre_start.[].per_replica", works, "", false},
	{"services.*.pre_start.[].privileged", works, "", false},
	{"services.*.pre_start.[].user", works, "", false},
	{"services.*.pre_start.[].working_dir", works, "", false},
	{"services.*.pre_start.[].*", refused, "a step has it from its service; write a service of its own, and wait for it by `depends_on`", true},
	{"services.*.pre_stop", works, "", false},
	{"services.*.pre_stop.[].command", works, "", false},
	{"services.*.pre_stop.[].environment", works, "", true},
	{"services.*.pre_stop.[].privileged", works, "", false},
	{"services.*.pre_stop.[].user", works, "", false},
	{"services.*.pre_stop.[].working_dir", works, "", false},
	{"services.*.privileged", refused, "a sandbox that may do everything is none; name capabilities in `cap_add` | `false` works", false},
	{"services.*.profiles", works, "", false},
	{"services.*.provider", refused, "nothing is asked of other programs; write a service", true},
	{"services.*.pull_policy", differs, "`always`, `missing`, `if_not_present` or `never`; `build` and those with a time are refused", false},
	{"services.*.pull_refresh_after", refused, "images have no age here; write `pull_policy: always`", false},
	{"services.*.read_only", works, "", false},
	{"services.*.restart", works, "", false},
	{"services.*.runtime", refused, "there is one runtime; leave it out", false},
	{"services.*.scale", works, "", false},
	{"services.*.secrets", differs, "a file on a tmpfs; its mode is 0400 and its owner the program's user unless said", false},
	{"services.*.secrets.[].gid", works, "a number", false},
	{"services.*.secrets.[].mode", works, "", false},
	{"services.*.secrets.[].source", works, "", false},
	{"services.*.secrets.[].target", works, "", false},
	{"services.*.secrets.[].uid", works, "a number", false},
	{"services.*.security_opt", differs, "`no-new-privileges`, which is on unless it is `false`, `seccomp` and `apparmor`; `label` is refused", false},
	{"services.*.shm_size", works, "", false},
	{"services.*.stdin_open", noted, "the input of every service is empty", false},
	{"services.*.stop_grace_period", works, "", false},
	{"services.*.stop_signal", works, "", false},
	{"services.*.storage_opt", refused, "root filesystems have no size; leave it out", true},
	{"services.*.sysctls", works, "", true},
	{"services.*.tmpfs", works, "", false},
	{"services.*.tty", works, "", false},
	{"services.*.ulimits", works, "", true},
	{"services.*.umask", refused, "set it in the command", false},
	{"services.*.use_api_socket", refused, "there is no engine to ask; leave it out", false},
	{"services.*.user", works, "", false},
	{"services.*.userns_mode", refused, "user namespaces are not to be chosen; leave it out", false},
	{"services.*.uts", refused, "every service has a host name of its own; leave it out", false},
	{"services.*.volumes", works, "a volume without a name is each replica's own", false},
	{"services.*.volumes.[].bind", works, "", false},
	{"services.*.volumes.[].bind.create_host_path", differs, "nothing is made on the host: the path has to be there", false},
	{"services.*.volumes.[].bind.propagation", works, "", false},
	{"services.*.volumes.[].bind.recursive", differs, "`enabled` only: mounts below are shown, too", false},
	{"services.*.volumes.[].bind.selinux", noted, "nothing is labelled", false},
	{"services.*.volumes.[].consistency", noted, "it is of Docker Desktop", false},
	{"services.*.volumes.[].image", refused, "images cannot be mounted; use a volume", true},
	{"services.*.volumes.[].read_only", works, "", false},
	{"services.*.volumes.[].source", works, "", false},
	{"services.*.volumes.[].target", works, "", false},
	{"services.*.volumes.[].tmpfs", works, "", false},
	{"services.*.volumes.[].tmpfs.mode", works, "", false},
	{"services.*.volumes.[].tmpfs.size", works, "", false},
	{"services.*.volumes.[].type", differs, "`bind`, `volume` or `tmpfs`; `image`, `npipe` and `cluster` are refused", false},
	{"services.*.volumes.[].volume", works, "", false},
	{"services.*.volumes.[].volume.labels", noted, "a volume has no labels", true},
	{"services.*.volumes.[].volume.nocopy", works, "", false},
	{"services.*.volumes.[].volume.subpath", works, "", false},
	{"services.*.volumes_from", refused, "name the volume in both services", false},
	{"services.*.working_dir", works, "", false},

	{"networks", differs, "each has a bridge in the environment's own network namespace; the host sees none of it", false},
	{"networks.*", works, "", false},
	{"networks.*.attachable", noted, "nobody else can be attached", false},
	{"networks.*.driver", differs, "`bridge` only", false},
	{"networks.*.driver_opts", differs, "`com.docker.network.driver.mtu` only", true},
	{"networks.*.enable_ipv4", differs, "`true` only", false},
	{"networks.*.enable_ipv6", works, "", false},
	{"networks.*.external", refused, "an environment is alone; leave it out, and the network is its own | `false` works", true},
	{"networks.*.internal", works, "", false},
	{"networks.*.ipam", works, "", false},
	{"networks.*.ipam.config", works, "one subnet of IPv4 and one of IPv6", false},
	{"networks.*.ipam.config.[].aux_addresses", works, "nobody is given them", true},
	{"networks.*.ipam.config.[].gateway", works, "", false},
	{"networks.*.ipam.config.[].ip_range", works, "", false},
	{"networks.*.ipam.config.[].subnet", works, "", false},
	{"networks.*.ipam.driver", differs, "`default` only", false},
	{"networks.*.ipam.options", refused, "there is nothing to set; leave it out", true},
	{"networks.*.labels", noted, "a network has no labels", true},
	{"networks.*.name", noted, "networks are seen in their environment only, where the key is their name", false},

	{"volumes", differs, "they are the environment's and go with it", false},
	{"volumes.*", works, "", false},
	{"volumes.*.driver", differs, "`local` only", false},
	{"volumes.*.driver_opts", differs, "`type: none` with `o: bind` and `device: DIRECTORY`, or `type: tmpfs` with mount options in `o`", true},
	{"volumes.*.external", refused, "an environment is alone; leave it out, or name a directory of the host with `driver_opts` | `false` works", true},
	{"volumes.*.labels", noted, "a volume has no labels", true},
	{"volumes.*.name", noted, "volumes are seen in their environment only, where the key is their name", false},

	{"secrets", works, "", false},
	{"secrets.*", works, "", false},
	{"secrets.*.driver", refused, "use `file` or `environment`", false},
	{"secrets.*.driver_opts", refused, "use `file` or `environment`", true},
	{"secrets.*.environment", works, "", false},
	{"secrets.*.external", refused, "there is no store of secrets; use `file` or `environment` | `false` works", true},
	{"secrets.*.file", works, "", false},
	{"secrets.*.labels", noted, "a secret has no labels", true},
	{"secrets.*.name", noted, "secrets are seen in their environment only, where the key is their name", false},
	{"secrets.*.template_driver", refused, "use `file` or `environment`", false},

	{"configs", works, "", false},
	{"configs.*", works, "", false},
	{"configs.*.content", works, "", false},
	{"configs.*.environment", works, "", false},
	{"configs.*.external", refused, "there is no store of configs; use `file`, `environment` or `content` | `false` works", true},
	{"configs.*.file", works, "", false},
	{"configs.*.labels", noted, "a config has no labels", true},
	{"configs.*.name", noted, "configs are seen in their environment only, where the key is their name", false},
	{"configs.*.template_driver", refused, "use `content` with variables", false},
}

// attributeOf finds what happens with a key by its pattern.
func attributeOf(table map[string]*attribute, pattern string) attribute {
	if a := table[pattern]; a != nil {
		return *a
	}
	parent, _ := cutLast(pattern)
	if a := table[parent+".*"]; a != nil && parent != "" {
		return *a
	}
	for ; parent != ""; parent, _ = cutLast(parent) {
		if a := table[parent]; a != nil && a.below {
			return *a
		}
		grandparent, _ := cutLast(parent)
		if a := table[grandparent+".*"]; a != nil && a.below {
			return *a
		}
	}
	return attribute{path: pattern, status: refused, text: "nobody would carry it out; leave it out"}
}

func cutLast(pattern string) (before, last string) {
	if i := strings.LastIndexByte(pattern, '.'); i >= 0 {
		return pattern[:i], pattern[i+1:]
	}
	return "", pattern
}

func attributeTable() map[string]*attribute {
	table := make(map[string]*attribute, len(attributes))
	for i := range attributes {
		table[attributes[i].path] = &attributes[i]
	}
	return table
}
