package environment

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/environment/plan"
	"github.com/sandboxrun/sandboxrun/network/egress"
)

const handoverVersion = 1

// HandoverDescriptor is the number of the descriptor from which the supervisor
// reads its Handover. It reads it to the end: the launch lets go of it only when
// the supervisor is in its control groups, and one that dies before leaves a
// truncated text, at which the supervisor ends.
const HandoverDescriptor = 3

// Handover is all that a supervisor is told. It goes through a pipe and is never
// on disk, in arguments or in variables.
type Handover struct {
	Version int        `json:"version"`
	Plan    *plan.Plan `json:"plan"`
	Roots   Roots      `json:"roots"`
	// Cgroup is the environment's group, an absolute path as linux.cgroupsPath takes it:
	// instances are below, "<Cgroup>/<instance>". The supervisor is in "<Cgroup>/_supervisor".
	Cgroup string `json:"cgroup"`
	// Secrets are the contents of the plan's secrets and configs.
	Secrets []SecretContent `json:"secrets,omitempty"`
	// Ports are the published ports; each has a descriptor of a listening stream socket or of
	// a bound datagram socket.
	Ports []OpenPort `json:"ports,omitempty"`
	// Descriptors says which inherited descriptor is what.
	Descriptors Descriptors `json:"descriptors"`
	// Egress is the pair of interfaces of which one end is in the supervisor's network
	// namespace already; nil without egress.
	Egress *egress.Link `json:"egress,omitempty"`
	// KeepOnFailure leaves the services up when a start fails, to be looked at.
	KeepOnFailure bool `json:"keep_on_failure,omitempty"`
}

// Descriptors are numbers of inherited descriptors; 0 is none.
type Descriptors struct {
	// Lock is held as long as it is open.
	Lock int `json:"lock"`
	// Control is the listening control socket.
	Control int `json:"control"`
	// Lifeline is readable (end of file) when the process that launched the environment has
	// ended. Only with DieWithParent.
	Lifeline int `json:"lifeline,omitempty"`
	// HostNetwork is the host's network namespace, in which names are asked for that egress
	// lets out. Only with Egress.
	HostNetwork int `json:"host_network,omitempty"`
}

// SecretContent is the content of a plan.Secret.
type SecretContent struct {
	Name    string `json:"name"`
	Content []byte `json:"content"`
}

// Paths returns the environment's paths.
func (h *Handover) Paths() Paths { return h.Roots.Of(h.Plan.Name) }

// Secret returns the content of the secret or config called name; false if there is none.
func (h *Handover) Secret(name string) ([]byte, bool) {
	for _, s := range h.Secrets {
		if s.Name == name {
			return s.Content, true
		}
	}
	return nil, false
}

// WriteHandover writes h to w, whole or with an error.
func WriteHandover(w io.Writer, h *Handover) error {
	h.Version = handoverVersion
	data, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("encode handover: %w", err)
	}
	if _, err := w.Write(data); err != nil {
		return fmt.Errorf("hand over to the supervisor: %w", err)
	}
	return nil
}

// ReadHandover reads a Handover to the end of r. It waits as long as r is held open
// by somebody.
func ReadHandover(r io.Reader) (*Handover, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read handover: %w", err)
	}
	if len(data) == 0 {
		return nil, errors.New("cannot take over: nothing was handed over; this command is for sandboxrun env alone")
	}
	var h Handover
	if err := json.Unmarshal(data, &h); err != nil {
		return nil, fmt.Errorf("cannot take over: whoever started this ended before it had said everything: %w", err)
	}
	if h.Version != handoverVersion {
		return nil, fmt.Errorf("cannot take over: sandboxrun-env and sandboxrun are of different versions (%d and %d); install both anew", h.Version, handoverVersion)
	}
	if h.Plan == nil {
		return nil, errors.New("cannot take over: there is no plan")
	}
	if err := CheckName(h.Plan.Name); err != nil {
		return nil, fmt.Errorf("cannot take over: %w", err)
	}
	return &h, nil
}

// TakeOver reads the Handover from HandoverDescriptor, closes that, and marks every
// descriptor that came with it close-on-exec. It is the first that a supervisor does.
func TakeOver() (*Handover, error) {
	var st unix.Stat_t
	if err := unix.Fstat(HandoverDescriptor, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return nil, errors.New("cannot take over: nothing is handed over; this command is for sandboxrun env alone")
	}
	pipe := os.NewFile(HandoverDescriptor, "handover")
	defer pipe.Close()
	unix.CloseOnExec(HandoverDescriptor)
	h, err := ReadHandover(pipe)
	if err != nil {
		return nil, err
	}
	inherited := []int{h.Descriptors.Lock, h.Descriptors.Control, h.Descriptors.Lifeline, h.Descriptors.HostNetwork}
	for _, p := range h.Ports {
		inherited = append(inherited, p.Descriptor)
	}
	for _, fd := range inherited {
		if fd != 0 {
			unix.CloseOnExec(fd)
		}
	}
	return h, nil
}
