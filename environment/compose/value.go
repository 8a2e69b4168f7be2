package compose

import (
	"fmt"
	"net"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/format"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/sandboxrun/sandboxrun/bundles/service"
	"github.com/sandboxrun/sandboxrun/cgroup"
)

// valueProblem says what is wrong with a value by the pattern of its place, or nothing. The schema has it as text or a
// number; here is what the library would stumble over without a place, and what nobody else looks at.
func valueProblem(pattern, value string) string {
	switch pattern {
	case "services.*.stop_grace_period", "services.*.healthcheck.interval", "services.*.healthcheck.timeout",
		"services.*.healthcheck.start_period", "services.*.healthcheck.start_interval",
		"services.*.deploy.restart_policy.delay", "services.*.deploy.restart_policy.window",
		"services.*.deploy.update_config.delay", "services.*.deploy.update_config.monitor",
		"services.*.deploy.rollback_config.delay", "services.*.deploy.rollback_config.monitor":
		_, problem := duration(value)
		return problem
	case "services.*.mem_limit", "services.*.memswap_limit":
		if _, err := cgroup.ParseBytes(value); err != nil && value != "0" {
			return err.Error()
		}
	case "services.*.mem_reservation", "services.*.shm_size", "services.*.deploy.resources.limits.memory",
		"services.*.deploy.resources.reservations.memory", "services.*.volumes.[].tmpfs.size":
		if n, err := cgroup.ParseBytes(value); value != "0" && (err != nil || n < 0) {
			return fmt.Sprintf("%q is no size; write for example 64M or 1g", value)
		}
	case "services.*.cpus", "services.*.deploy.resources.limits.cpus", "services.*.deploy.resources.reservations.cpus":
		if _, err := cgroup.ParseCPUs(value); err != nil && !isZero(value) {
			return err.Error()
		}
	case "services.*.container_name":
		if len(value) < 2 {
			return fmt.Sprintf("%q is too short for the name of a container; write two characters or more", value)
		}
	case "services.*.cpuset":
		if _, err := cgroup.ParseCpuset(value); err != nil {
			return err.Error()
		}
	case "services.*.pids_limit", "services.*.deploy.resources.limits.pids":
		if _, err := cgroup.ParsePids(value); err != nil && value != "0" {
			return err.Error()
		}
	case "services.*.cpu_shares", "services.*.cpu_quota", "services.*.cpu_period", "services.*.scale", "services.*.deploy.replicas",
		"services.*.healthcheck.retries", "services.*.deploy.restart_policy.max_attempts", "services.*.deploy.update_config.parallelism",
		"services.*.deploy.rollback_config.parallelism", "services.*.deploy.placement.max_replicas_per_node":
		if n, err := strconv.ParseInt(value, 10, 64); err != nil || n < 0 {
			return fmt.Sprintf("%q is no whole number from 0 on", value)
		}
	case "services.*.networks.*.priority", "services.*.networks.*.gw_priority":
		if _, err := strconv.Atoi(value); err != nil {
			return fmt.Sprintf("%q is no whole number", value)
		}
	case "services.*.oom_score_adj":
		if n, err := strconv.Atoi(value); err != nil || n < -1000 || n > 1000 {
			return fmt.Sprintf("it must be a whole number from -1000 to 1000, not %q", value)
		}
	case "services.*.ulimits.*", "services.*.ulimits.*.soft", "services.*.ulimits.*.hard":
		if n, err := strconv.Atoi(value); err != nil || n < -1 {
			return fmt.Sprintf("%q is no limit; write a whole number, or -1 for none", value)
		}
	case "services.*.cap_add.[]", "services.*.cap_drop.[]":
		if _, err := service.CapabilityName(value); err != nil {
			return err.Error()
		}
	case "services.*.ports.[]":
		if _, err := types.ParsePortConfig(value); err != nil {
			return fmt.Sprintf("%q is no port: %v; write [[ADDRESS:]HOST:]CONTAINER[/tcp|udp]", value, err)
		}
	case "services.*.ports.[].target":
		if n, err := strconv.ParseUint(value, 10, 16); err != nil || n == 0 {
			return fmt.Sprintf("%q is no port; write 1 to 65535", value)
		}
	case "services.*.ports.[].host_ip":
		if _, err := netip.ParseAddr(value); err != nil {
			return fmt.Sprintf("%q is no IP address", value)
		}
	case "services.*.volumes.[]":
		if problem := volumeProblem(value); problem != "" {
			return problem
		}
	case "services.*.volumes.[].target", "services.*.working_dir":
		if !path.IsAbs(value) {
			return fmt.Sprintf("it must be an absolute path in the sandbox, not %q", value)
		}
	case "services.*.tmpfs", "services.*.tmpfs.[]":
		if _, err := service.ParseTmpfs(value); err != nil {
			return err.Error()
		}
	case "services.*.volumes.[].tmpfs.mode", "services.*.secrets.[].mode", "services.*.configs.[].mode":
		if n, err := strconv.ParseUint(value, 0, 32); err != nil || n > 0o7777 {
			return fmt.Sprintf("%q is no mode; write for example 0444", value)
		}
	case "services.*.extra_hosts.[]":
		if _, err := types.NewHostsList([]string{value}); err != nil {
			return fmt.Sprintf("%q is not NAME=ADDRESS", value)
		}
	case "services.*.networks.*.mac_address", "services.*.mac_address":
		if _, err := net.ParseMAC(value); err != nil {
			return fmt.Sprintf("%q is no hardware address; write for example 02:42:ac:11:00:02", value)
		}
	case "networks.*.ipam.config.[].subnet", "networks.*.ipam.config.[].ip_range":
		if _, err := netip.ParsePrefix(value); err != nil {
			return fmt.Sprintf("%q is no subnet; write for example 10.1.0.0/24", value)
		}
	case "services.*.networks.*.ipv4_address", "services.*.networks.*.ipv6_address", "networks.*.ipam.config.[].gateway",
		"networks.*.ipam.config.[].aux_addresses.*", "services.*.dns", "services.*.dns.[]":
		if a, err := netip.ParseAddr(value); err != nil || a.Zone() != "" {
			return fmt.Sprintf("%q is no IP address", value)
		}
	}
	return ""
}

func isZero(value string) bool {
	f, err := strconv.ParseFloat(value, 64)
	return err == nil && f == 0
}

// duration reads one as the specification has it: 1m30s, also with days and weeks.
func duration(value string) (time.Duration, string) {
	var d types.Duration
	if err := d.DecodeMapstructure(value); err != nil || d < 0 {
		return 0, fmt.Sprintf("%q is no duration; write for example 1m30s", value)
	}
	return time.Duration(d), ""
}

// volumeProblem checks the short form of a volume, [SOURCE:]TARGET[:OPTIONS], of which the library passes over options that
// it does not know.
func volumeProblem(value string) string {
	v, err := format.ParseVolume(value)
	if err != nil || !path.IsAbs(v.Target) {
		return fmt.Sprintf("%q is not [SOURCE:]TARGET[:OPTIONS] with an absolute target", value)
	}
	parts := strings.Split(value, ":")
	if len(parts) < 3 {
		return ""
	}
	for option := range strings.SplitSeq(parts[len(parts)-1], ",") {
		known := contains([]string{"ro", "rw", "z", "Z", "nocopy", "cached", "delegated", "consistent", ""}, option)
		if !known && !service.IsPropagation(option) {
			return fmt.Sprintf("the option %q of %q is not supported; there are ro, rw, nocopy, z, Z and those of mount propagation", option, value)
		}
	}
	return ""
}
