package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// kvmProbeTime is how long a guest may take to boot when KVM is tried. Where
// KVM works it takes two seconds; where it doesn't, the guest may spin for
// ever without a word.
const kvmProbeTime = 20 * time.Second

// bootSilence is how long a booting guest may say nothing before it is killed
// and booted again.
const bootSilence = 45 * time.Second

// probed is what accelerator.json in an image's directory says.
type probed struct {
	// Host identifies the host by what KVM depends on; another one is probed
	// again.
	Host        string      `json:"host"`
	Accelerator accelerator `json:"accelerator"`
	Reason      string      `json:"reason"`
}

// accelerator returns what img boots with on this host: KVM only if a boot with
// it has been seen. The answer is kept with the image.
func (c cache) accelerator(ctx context.Context, img image, progress io.Writer) (probed, error) {
	path := filepath.Join(img.dir, "accelerator.json")
	host, err := hostIdentity()
	if err != nil {
		return probed{}, err
	}
	if known, err := readProbed(path); err == nil && known.Host == host {
		return known, nil
	}
	found := probed{Host: host, Accelerator: accelKVM, Reason: "a guest boots with KVM"}
	if err := c.tryKVM(ctx, img, progress); err != nil {
		if ctx.Err() != nil {
			return probed{}, context.Cause(ctx)
		}
		found.Accelerator, found.Reason = accelTCG, "KVM: "+strings.ReplaceAll(err.Error(), "\n", ": ")
	}
	// An image that others own is used as it is; then every run probes.
	if err := writeProbed(path, found); err != nil {
		fmt.Fprintf(progress, "vm: cannot keep what was found out about KVM: %v\n", err)
	}
	return found, nil
}

// tryKVM returns nil if a guest boots with KVM, or else why not.
func (c cache) tryKVM(ctx context.Context, img image, progress io.Writer) error {
	device, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	device.Close()
	fmt.Fprintf(progress, "vm: trying KVM\n")
	_, err = run(ctx, c, img, request{
		command:  command{args: []string{"true"}, dir: "/"},
		deadline: time.Now().Add(2 * kvmProbeTime),
		memory:   512 << 20,
		stdout:   io.Discard,
		stderr:   io.Discard,
		progress: io.Discard,
		verbose:  io.Discard,
		boots:    []accelerator{accelKVM},
		silence:  kvmProbeTime,
	})
	return err
}

// boots returns the accelerators of successive boots: a boot that stays silent
// is tried again, and KVM is given up after it.
func (p probed) boots() []accelerator {
	return []accelerator{p.Accelerator, p.Accelerator, accelTCG}
}

// hostIdentity returns a hash of this host's kernel, processor, QEMU and name,
// and of whether /dev/kvm may be used.
func hostIdentity() (string, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "", os.NewSyscallError("uname", err)
	}
	processor, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "", err
	}
	emulator, err := exec.LookPath(qemu)
	if err != nil {
		return "", fmt.Errorf("cannot find %s: %w; install the packages in test/vm/host-packages.txt", qemu, err)
	}
	info, err := os.Stat(emulator)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	fmt.Fprintln(hash, name.Nodename, name.Release, name.Version, info.Size(), info.ModTime().Unix(),
		unix.Access("/dev/kvm", unix.R_OK|unix.W_OK) == nil)
	for line := range strings.Lines(string(processor)) {
		if strings.HasPrefix(line, "model name") || strings.HasPrefix(line, "flags") {
			fmt.Fprint(hash, line)
		}
	}
	return hex.EncodeToString(hash.Sum(nil))[:16], nil
}

func readProbed(path string) (probed, error) {
	var known probed
	data, err := os.ReadFile(path)
	if err != nil {
		return known, err
	}
	if err := json.Unmarshal(data, &known); err != nil {
		return known, err
	}
	if known.Accelerator != accelKVM && known.Accelerator != accelTCG {
		return known, errors.New("unknown accelerator")
	}
	return known, nil
}

// writeProbed replaces the file in one step, since others may read it.
func writeProbed(path string, found probed) error {
	data, err := json.MarshalIndent(found, "", "  ")
	if err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".accelerator-")
	if err != nil {
		return err
	}
	_, err = temporary.Write(append(data, '\n'))
	err = errors.Join(err, temporary.Chmod(0o644), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary.Name()))
	}
	return nil
}
