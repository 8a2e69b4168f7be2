package plan

import (
	"io/fs"
	"net/netip"
	"time"

	"github.com/sandboxrun/sandboxrun/bundles/service"
	"github.com/sandboxrun/sandboxrun/cgroup"
	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
)

// Version is that of the Plan's JSON form.
const Version = 1

// Plan is one environment. It is a plain value, safe to read from several
// goroutines.
type Plan struct {
	Version int `json:"version"`
	// Name of the environment: [a-z0-9][a-z0-9_-]*, at most 63 characters.
	Name string `json:"name"`
	// Dir is the project's absolute directory, Files the compose files.
	Dir   string   `json:"dir"`
	Files []string `json:"files"`
	// TTL ends the environment that long after its start; 0 is no end.
	TTL time.Duration `json:"ttl,omitempty"`
	// Limits hold for all services together.
	Limits cgroup.Limits `json:"limits,omitzero"`
	// Egress is what the services may reach outside; none by default.
	Egress   Egress    `json:"egress,omitzero"`
	Networks []Network `json:"networks"`
	Volumes  []Volume  `json:"volumes,omitempty"`
	// Secrets and configs by name, as the compose file's top level has them.
	Secrets []Secret `json:"secrets,omitempty"`
	// Services are in the order of their start: each after what it depends on.
	Services []Service `json:"services"`
}

// Egress is a policy for traffic that leaves the environment.
type Egress struct {
	// All lets everything out; else the Rules are what is let out.
	All   bool         `json:"all,omitempty"`
	Rules []EgressRule `json:"rules,omitempty"`
}

// EgressRule lets out traffic to one destination: exactly one of Prefix and Name.
type EgressRule struct {
	Prefix netip.Prefix `json:"prefix,omitzero"`
	// Name is a DNS name; what it resolves to at the time of asking is let out. With "*." before
	// it, it is all names below.
	Name string `json:"name,omitempty"`
}

// Network is one bridge of the environment.
type Network struct {
	Name string `json:"name"`
	// Bridge is the interface's name, at most 15 characters.
	Bridge string `json:"bridge"`
	// Subnets has one IPv4 prefix, and one of IPv6 where it is enabled. Gateways
	// are the bridge's own addresses, one for each subnet; DNS answers there.
	Subnets  []netip.Prefix `json:"subnets"`
	Gateways []netip.Addr   `json:"gateways"`
	// Internal networks have no egress, whatever the policy says.
	Internal bool `json:"internal,omitempty"`
	MTU      int  `json:"mtu,omitempty"`
}

// Volume is a directory of the environment that services share.
type Volume struct {
	Name string `json:"name"`
	// Source is a directory of the host (driver local with type none); empty for one that the
	// environment makes and removes.
	Source string `json:"source,omitempty"`
	// Tmpfs options, where the volume's driver options say type tmpfs.
	Tmpfs   bool     `json:"tmpfs,omitempty"`
	Options []string `json:"options,omitempty"`
}

// Secret is a secret or a config: where its content is to be had from. Exactly
// one of File, Variable and Inline is set; Inline (a config's content:) is not
// secret.
type Secret struct {
	// Name is unique among all; a config's begins with "config:".
	Name     string `json:"name"`
	File     string `json:"file,omitempty"`
	Variable string `json:"variable,omitempty"`
	Inline   string `json:"inline,omitempty"`
	// Redact says that the content must not be shown where a service prints it.
	Redact bool `json:"redact,omitempty"`
}

// Grant gives a service a Secret as a file on a tmpfs.
type Grant struct {
	Secret string `json:"secret"`
	// Target is an absolute path in the sandbox.
	Target string `json:"target"`
	// UID and GID own it; a negative one is that of the program's user.
	UID  int         `json:"uid"`
	GID  int         `json:"gid"`
	Mode fs.FileMode `json:"mode"`
}

// Service is one service and its replicas.
type Service struct {
	Name string `json:"name"`
	// Image is what the root filesystem is made of.
	Image Image `json:"image"`
	// Sandbox is the service as a bundle has it. Its Secrets are empty: Grants has them. Its Mounts of kind
	// Volume are those without a Source, which are each instance's own; Volumes has those with a name.
	// Its Source and Platform are empty: Image has them.
	Sandbox service.Service `json:"sandbox"`
	Grants  []Grant         `json:"grants,omitempty"`
	Volumes []VolumeMount   `json:"volumes,omitempty"`

	Instances []Instance   `json:"instances"`
	Ports     []Port       `json:"ports,omitempty"`
	DependsOn []Dependency `json:"depends_on,omitempty"`
	// Ready is the conjunction of all probes; without any a service is ready when it runs.
	Ready []Probe `json:"ready,omitempty"`
	// Healthcheck is what the file says; with what the image says it is CheckOf.
	Healthcheck *Healthcheck `json:"healthcheck,omitempty"`
	Restart     Restart      `json:"restart"`
	// StopSignal as in signal(7), "SIGQUIT"; empty is the image's, and SIGTERM where that has none.
	// StopGrace is until SIGKILL; 0 is at once.
	StopSignal string        `json:"stop_signal"`
	StopGrace  time.Duration `json:"stop_grace"`
	PreStart   []Hook        `json:"pre_start,omitempty"`
	PostStart  []Hook        `json:"post_start,omitempty"`
	PreStop    []Hook        `json:"pre_stop,omitempty"`
	// Init puts a reaping PID 1 before the program.
	Init bool `json:"init,omitempty"`
	// DNS servers, search domains and options that the service has in place of the environment's.
	DNS       []netip.Addr `json:"dns,omitempty"`
	DNSSearch []string     `json:"dns_search,omitempty"`
	DNSOpts   []string     `json:"dns_opt,omitempty"`
	// JoinNetwork, JoinPID and JoinIPC name the service whose namespace is shared
	// (network_mode: service:NAME, and so on).
	JoinNetwork string `json:"join_network,omitempty"`
	JoinPID     string `json:"join_pid,omitempty"`
	JoinIPC     string `json:"join_ipc,omitempty"`
	// Logs says how much of its output is stored.
	Logs Logs `json:"logs,omitzero"`
	// Attach is false where the service's output is not to be shown (attach: false).
	Attach bool `json:"attach"`
}

// Logs is how much is stored of what each of a service's containers prints.
type Logs struct {
	// MaxSize is how large a file gets, in bytes, and MaxFiles how many there are, the newest
	// included; 0 is what package logs has.
	MaxSize  int64 `json:"max_size,omitempty"`
	MaxFiles int   `json:"max_files,omitempty"`
	// None stores nothing, and shows nothing of it.
	None bool `json:"none,omitempty"`
}

// Image says what a root filesystem is made of. Exactly one of Source and Host
// is set.
type Image struct {
	// Source is what `bundle build` takes, made absolute: docker://redis:7, dir:/srv/x, …
	Source string `json:"source,omitempty"`
	Host   bool   `json:"host,omitempty"`
	// Pull is compose's pull_policy: always, missing, never; empty is missing.
	Pull string `json:"pull,omitempty"`
	// Reference and Digest are set when the source has been brought into the store.
	Reference string          `json:"reference,omitempty"`
	Digest    manifest.Digest `json:"digest,omitempty"`
	Platform  string          `json:"platform,omitempty"`
	// Variant and DockerDefaults: see package bundles/build.
	Variant        string `json:"variant,omitempty"`
	DockerDefaults bool   `json:"docker_defaults,omitempty"`
}

// VolumeMount puts a Volume into a service.
type VolumeMount struct {
	Volume   string `json:"volume"`
	Target   string `json:"target"`
	ReadOnly bool   `json:"read_only,omitempty"`
	// NoCopy leaves an empty volume empty; else it is filled from the image.
	NoCopy  bool   `json:"no_copy,omitempty"`
	Subpath string `json:"subpath,omitempty"`
}

// Instance is one replica: one container.
type Instance struct {
	// Name is unique in the environment: "web-1", or the service's container_name.
	Name string `json:"name"`
	// Index counts from 1.
	Index    int    `json:"index"`
	Hostname string `json:"hostname"`
	// Attachments are its interfaces eth0, eth1, …, in order.
	Attachments []Attachment `json:"attachments,omitempty"`
}

// Attachment is one interface of an instance.
type Attachment struct {
	Network   string       `json:"network"`
	Interface string       `json:"interface"`
	Addresses []netip.Addr `json:"addresses"`
	MAC       string       `json:"mac,omitempty"`
	// Names are what the instance is called on this network: service, container name, aliases.
	Names []string `json:"names"`
}

// Port is a published port. It is made for one instance, the first.
type Port struct {
	// HostIP is 0.0.0.0 by default; HostPort 0 picks a free one.
	HostIP   netip.Addr `json:"host_ip"`
	HostPort uint16     `json:"host_port"`
	// HostPortEnd, if it is not 0, makes HostPort the first of a range: the first port that is free is taken.
	HostPortEnd uint16 `json:"host_port_end,omitempty"`
	Target      uint16 `json:"target"`
	Protocol    string `json:"protocol"` // tcp or udp
	Name        string `json:"name,omitempty"`
}

// Condition is when a dependency is met.
type Condition string

// The conditions of the Compose specification.
const (
	Started   Condition = "service_started"
	Healthy   Condition = "service_healthy"
	Completed Condition = "service_completed_successfully"
)

// Dependency is an entry of depends_on.
type Dependency struct {
	Service   string    `json:"service"`
	Condition Condition `json:"condition"`
	// Optional: the start goes on where the dependency is missing or fails (required: false).
	Optional bool `json:"optional,omitempty"`
	// Restart restarts the service when the dependency was restarted.
	Restart bool `json:"restart,omitempty"`
}

// Restart is a restart policy.
type Restart struct {
	// Policy is no, always, on-failure or unless-stopped.
	Policy string `json:"policy"`
	// MaxAttempts in a row; 0 is no bound.
	MaxAttempts int `json:"max_attempts,omitempty"`
	// Delay before the first restart, doubled each time up to a minute; 0 is 100 ms, as docker's.
	Delay time.Duration `json:"delay,omitempty"`
	// Window is how long a start must hold to count as one that succeeded; 0 is 10 s, as docker's.
	Window time.Duration `json:"window,omitempty"`
}

// Hook is a command that is run around the life of a container, in it.
type Hook struct {
	Command     []string `json:"command"`
	User        string   `json:"user,omitempty"`
	Privileged  bool     `json:"privileged,omitempty"`
	WorkingDir  string   `json:"working_dir,omitempty"`
	Environment []string `json:"environment,omitempty"`
	// Image is that of a pre_start step's own container; null: the service's.
	Image *Image `json:"image,omitempty"`
	// PerReplica runs a pre_start step for each instance, else it runs once for the service.
	PerReplica bool `json:"per_replica,omitempty"`
}

// Healthcheck is compose's healthcheck: a command in the container. What is zero
// is not said: see CheckOf.
type Healthcheck struct {
	// Disabled leaves out the image's check too; nothing else is set then.
	Disabled bool `json:"disabled,omitempty"`
	// Command is an argument vector; a CMD-SHELL's begins with /bin/sh -c. Null is the image's.
	Command []string `json:"command"`
	// Interval between two checks, Timeout of one, both 30 s by default; Retries in a row that make it unhealthy, 3 by default.
	Interval time.Duration `json:"interval"`
	Timeout  time.Duration `json:"timeout"`
	Retries  int           `json:"retries"`
	// Failures within StartPeriod after the start do not count; StartInterval is the interval there, 5 s by default.
	StartPeriod   time.Duration `json:"start_period,omitempty"`
	StartInterval time.Duration `json:"start_interval,omitempty"`
}

// ProbeKind is the sort of a Probe.
type ProbeKind string

// The kinds of x-sandbox.ready.
const (
	ProbeTCP    ProbeKind = "tcp"    // a connection is accepted
	ProbeHTTP   ProbeKind = "http"   // an answer with the wanted status
	ProbeGRPC   ProbeKind = "grpc"   // grpc.health.v1 says SERVING
	ProbeLog    ProbeKind = "log"    // a line of output matches
	ProbeNotify ProbeKind = "notify" // READY=1 by sd_notify(3)
	ProbeListen ProbeKind = "listen" // a socket listens, seen by sock_diag(7)
)

// Probe is one condition of readiness, looked at by the supervisor without a
// process in the sandbox. It is retried at once until Timeout after the start.
type Probe struct {
	Kind ProbeKind `json:"kind"`
	// Host is what is connected to (tcp, http, grpc): empty is the instance's own address.
	// "localhost" connects from inside its network namespace.
	Host string `json:"host,omitempty"`
	Port uint16 `json:"port,omitempty"`
	// Path, Status (0: 200 to 399), Scheme (http, https without verification) and Headers of http.
	Path    string            `json:"path,omitempty"`
	Scheme  string            `json:"scheme,omitempty"`
	Status  int               `json:"status,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	// GRPCService of grpc; Pattern is the regular expression (RE2) of log, Times how often it has to match.
	GRPCService string `json:"grpc_service,omitempty"`
	Pattern     string `json:"pattern,omitempty"`
	Times       int    `json:"times,omitempty"`
	// Timeout after the start of the container; 0 is a minute.
	Timeout time.Duration `json:"timeout,omitempty"`
}
