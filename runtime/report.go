package runtime

import (
	"encoding/json"
	"syscall"
	"time"

	"github.com/sandboxrun/sandboxrun/cgroup"
)

// reportVersion changes only when a key changes its meaning; keys are added
// freely and never renamed.
const reportVersion = 1

// Reason says why a container ended.
type Reason string

// The reasons. Killed means that the supervisor ended the container because it
// was told to stop; Signalled that somebody else, or the program itself, did.
const (
	ReasonExited      Reason = "exited"
	ReasonSignalled   Reason = "signalled"
	ReasonOOM         Reason = "oom" // the OOM killer ended the main process
	ReasonWallTime    Reason = "wall-time"
	ReasonCPUTime     Reason = "cpu-time"
	ReasonKilled      Reason = "killed"
	ReasonStartFailed Reason = "start-failed"
)

// Report is what is known of a container after its end. Its JSON form is
// described in docs/report.md. Units are in the names of the keys; a figure
// that this kernel does not give is null, never 0.
type Report struct {
	Version int    `json:"version"`
	ID      string `json:"id"`
	// Bundle is an absolute path.
	Bundle string `json:"bundle"`
	Reason Reason `json:"reason"`
	// ExitCode is what `sandboxrun run` exits with.
	ExitCode int `json:"exit_code"`
	// Signal is the number of the signal that ended the program.
	Signal *int `json:"signal"`
	// Error says what failed, if anything of ours did.
	Error *string `json:"error"`
	// StartedAt is when the program was let run; null if it never was.
	StartedAt   *time.Time `json:"started_at"`
	WallSeconds *float64   `json:"wall_seconds"`
	cgroup.Stats
	Limits ReportedLimits `json:"limits"`
	// MissingControllers are those without which a limit was dropped.
	MissingControllers []string `json:"missing_controllers"`
	// DroppedLimits are the JSON paths of those limits.
	DroppedLimits []string `json:"dropped_limits"`
	Phases        Phases   `json:"phases"`
}

// ReportedLimits are the limits that held: those of the kernel as read back
// from it, and the supervisor's own.
type ReportedLimits struct {
	cgroup.EffectiveLimits
	WallTimeSeconds *float64 `json:"wall_time_seconds"`
	CPUTimeSeconds  *float64 `json:"cpu_time_seconds"`
}

// Phases are the durations of the parts of a start, in seconds. A part that
// was not reached is null.
type Phases struct {
	// LoadSeconds: reading and checking the bundle, by the caller.
	LoadSeconds *float64 `json:"load_seconds"`
	// CreateSeconds: state, namespaces, cgroups, mounts, up to the point where
	// the program only waits to be let run.
	CreateSeconds *float64 `json:"create_seconds"`
	// StartSeconds: letting it run.
	StartSeconds *float64 `json:"start_seconds"`
	// RemoveSeconds: removing cgroups and state after the end.
	RemoveSeconds *float64 `json:"remove_seconds"`
}

// newReport returns the report of a container that has not been started.
func newReport(id, bundle string) *Report {
	return &Report{
		Version:            reportVersion,
		ID:                 id,
		Bundle:             bundle,
		Reason:             ReasonStartFailed,
		MissingControllers: []string{},
		DroppedLimits:      []string{},
	}
}

// FailedStart returns the report of a container that failed before Run was
// reached, such as for an unreadable bundle.
func FailedStart(id, bundle string, err error) *Report {
	report := newReport(id, bundle)
	report.setError(err)
	return report
}

// JSON returns the report as indented JSON with a newline.
func (r *Report) JSON() ([]byte, error) {
	data, err := json.MarshalIndent(r, "", "  ")
	return append(data, '\n'), err
}

// setError keeps the program's own exit code where there is one.
func (r *Report) setError(err error) {
	text := err.Error()
	r.Error = &text
	if r.Reason == ReasonStartFailed {
		r.ExitCode = ExitCode(err)
	}
}

func (r *Report) setExit(status ExitStatus) {
	r.ExitCode = status.Code
	if status.Signal != 0 {
		number := int(status.Signal)
		r.Signal = &number
	}
}

func seconds(d time.Duration) *float64 {
	s := d.Seconds()
	return &s
}

// optionalSeconds is null for a limit that was not set.
func optionalSeconds(d time.Duration) *float64 {
	if d == 0 {
		return nil
	}
	return seconds(d)
}

// endReason decides what ended the program: cause is what the supervisor did
// to it, if anything; oom whether the OOM killer took its main process.
func endReason(cause Reason, status ExitStatus, oom bool) Reason {
	switch {
	case status.Signal == 0:
		// Also a program that was told to stop and did so by itself.
		return ReasonExited
	case cause != "":
		return cause
	case status.Signal == syscall.SIGKILL && oom:
		return ReasonOOM
	default:
		return ReasonSignalled
	}
}
