package control

import (
	"encoding/json"
	"time"

	"github.com/sandboxrun/sandboxrun/cgroup"
)

// Operation is what a Request asks for.
type Operation string

// The operations. Each names its replies.
const (
	OpStatus Operation = "status" // one Reply with Status
	OpWatch  Operation = "watch"  // Events, those of the past first; ends with the environment
	OpStats  Operation = "stats"  // one Reply with Stats
	OpStop   Operation = "stop"   // Events of the stop; the connection closes when the supervisor ends
	OpExec   Operation = "exec"   // Started, later Exit
)

// Request is one question.
type Request struct {
	Op   Operation    `json:"op"`
	Stop *StopRequest `json:"stop,omitempty"`
	Exec *ExecRequest `json:"exec,omitempty"`
}

// StopRequest stops the whole environment in reverse order of dependencies.
type StopRequest struct {
	// Grace takes the place of each service's own; nil leaves those.
	Grace *time.Duration `json:"grace,omitempty"`
	// Reason is told in events and reports: down, interrupt, ttl, …
	Reason string `json:"reason"`
}

// ExecRequest runs a command in a running instance. The request carries the
// descriptors of stdin, stdout and stderr, or, with Terminal, one end of a
// socketpair that gets the terminal's master.
type ExecRequest struct {
	Service string `json:"service"`
	// Index counts from 1; 0 is the first that runs.
	Index       int      `json:"index,omitempty"`
	Command     []string `json:"command"`
	Environment []string `json:"environment,omitempty"`
	User        string   `json:"user,omitempty"`
	WorkingDir  string   `json:"working_dir,omitempty"`
	Privileged  bool     `json:"privileged,omitempty"`
	Terminal    bool     `json:"terminal,omitempty"`
	// Detach returns after Started.
	Detach bool `json:"detach,omitempty"`
}

// Reply is one line of an answer; exactly one member is set.
type Reply struct {
	Error   string          `json:"error,omitempty"`
	Status  *Status         `json:"status,omitempty"`
	Event   *Event          `json:"event,omitempty"`
	Stats   []InstanceStats `json:"stats,omitzero"` // may be empty
	Started *ExecStarted    `json:"started,omitempty"`
	Exit    *ExecExit       `json:"exit,omitempty"`
}

// ExecStarted tells that the command runs. Pid is in the supervisor's namespace.
type ExecStarted struct {
	Pid int `json:"pid"`
}

// ExecExit is how the command ended; 128+n after signal n.
type ExecExit struct {
	Code int `json:"code"`
}

// Phase is where an environment is in its life.
type Phase string

// The phases, in order.
const (
	Starting Phase = "starting"
	Running  Phase = "running" // every service is ready, or done where it is one-shot
	Failed   Phase = "failed"  // a start failed; Stopping follows unless services are to be kept
	Stopping Phase = "stopping"
	Stopped  Phase = "stopped"
)

// State is where an instance is in its life.
type State string

// The states.
const (
	Waiting    State = "waiting" // for what it depends on
	Creating   State = "creating"
	Up         State = "running"
	Restarting State = "restarting"
	Ending     State = "stopping"
	Exited     State = "exited"
)

// Status is a snapshot of an environment.
type Status struct {
	Name      string    `json:"name"`
	Phase     Phase     `json:"phase"`
	StartedAt time.Time `json:"started_at"`
	// ReadyAt is null until every service was ready.
	ReadyAt *time.Time `json:"ready_at"`
	Expires *time.Time `json:"expires"` // by the time to live
	Failure *Failure   `json:"failure"`
	// NetworkLost are sentences: what of the network somebody else has taken away.
	NetworkLost []string         `json:"network_lost,omitempty"`
	Instances   []InstanceStatus `json:"instances"`
}

// InstanceStatus is a snapshot of one container.
type InstanceStatus struct {
	Service string `json:"service"`
	Name    string `json:"name"`
	Index   int    `json:"index"`
	State   State  `json:"state"`
	// Ready: all probes and the health check have passed. Health is starting, healthy or unhealthy; empty without a check.
	Ready    bool       `json:"ready"`
	Health   string     `json:"health,omitempty"`
	Restarts int        `json:"restarts"`
	ExitCode *int       `json:"exit_code"`
	Since    *time.Time `json:"since"` // of the state
	// Addresses by network.
	Addresses map[string][]string `json:"addresses,omitempty"`
	Ports     []PublishedPort     `json:"ports,omitempty"`
	Source    string              `json:"source"`
	Command   []string            `json:"command,omitempty"`
	OOMKills  uint64              `json:"oom_kills"`
	// NetworkLost names networks whose bridge, or the instance's interface there, somebody has removed.
	NetworkLost []string `json:"network_lost,omitempty"`
}

// PublishedPort is a port as it was opened.
type PublishedPort struct {
	HostIP   string `json:"host_ip"`
	HostPort uint16 `json:"host_port"`
	Target   uint16 `json:"target"`
	Protocol string `json:"protocol"`
}

// InstanceStats is use beside limit.
type InstanceStats struct {
	Service  string                 `json:"service"`
	Name     string                 `json:"name"`
	At       time.Time              `json:"at"`
	Stats    *cgroup.Stats          `json:"stats"` // null if it does not run
	Usage    cgroup.Usage           `json:"usage"` // of this moment
	Limits   cgroup.EffectiveLimits `json:"limits"`
	Restarts int                    `json:"restarts"`
}

// Failure tells why a start failed.
type Failure struct {
	Service string `json:"service,omitempty"`
	// Stage is what was being done: image, create, start, ready, health, hook, exit.
	Stage string `json:"stage"`
	Error string `json:"error"`
	// LastLines of its output.
	LastLines []string `json:"last_lines,omitempty"`
}

// EventKind is what happened.
type EventKind string

// The kinds of events.
const (
	EventPhase    EventKind = "phase"   // Phase of the environment
	EventWaiting  EventKind = "waiting" // Detail: for whom
	EventCreating EventKind = "creating"
	EventStarted  EventKind = "started"
	EventReady    EventKind = "ready"
	EventHealth   EventKind = "health" // Detail: healthy, unhealthy
	EventHook     EventKind = "hook"   // Detail: which, and how it ended
	EventOOM      EventKind = "oom"
	EventStopping EventKind = "stopping"
	EventExited   EventKind = "exited"  // ExitCode, Report; Detail: lines of output that were lost
	EventRestart  EventKind = "restart" // Detail: after how long
	EventFailure  EventKind = "failure" // Failure
	EventExec     EventKind = "exec"
	EventNetwork  EventKind = "network" // Detail: what of it was taken away, of all or of one Instance
	EventLost     EventKind = "lost"    // Detail: how many events the watcher was too late for
)

// Event is something that happened at a time.
type Event struct {
	At       time.Time `json:"at"`
	Kind     EventKind `json:"kind"`
	Service  string    `json:"service,omitempty"`
	Instance string    `json:"instance,omitempty"`
	Phase    Phase     `json:"phase,omitempty"`
	Detail   string    `json:"detail,omitempty"`
	ExitCode *int      `json:"exit_code,omitempty"`
	Failure  *Failure  `json:"failure,omitempty"`
	// Report is the container's exit report (docs/report.md). It stays as it is: whoever reads it need
	// not link the runtime.
	Report json.RawMessage `json:"report,omitempty"`
}
