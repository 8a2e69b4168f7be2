package manifest

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
)

// Platform is what an image runs on, in Go's words for systems and processors.
type Platform struct {
	OS           string   `json:"os"`
	Architecture string   `json:"architecture"`
	Variant      string   `json:"variant,omitempty"`
	OSVersion    string   `json:"os.version,omitempty"`
	OSFeatures   []string `json:"os.features,omitempty"`
}

// Host returns the platform of this machine.
func Host() Platform {
	p := Platform{OS: "linux", Architecture: runtime.GOARCH}
	if p.Architecture == "arm64" {
		p.Variant = "v8"
	}
	return p
}

// ParsePlatform reads "linux/arm64" or "linux/arm/v7".
func ParsePlatform(s string) (Platform, error) {
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "") {
		return Platform{}, fmt.Errorf("cannot use platform %q: it is not OS/ARCHITECTURE[/VARIANT]; write for example linux/arm64", s)
	}
	if parts[0] != "linux" {
		return Platform{}, fmt.Errorf("cannot use platform %q: sandboxes run linux only; write for example linux/%s", s, runtime.GOARCH)
	}
	p := Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	} else if p.Architecture == "arm64" {
		p.Variant = "v8"
	}
	return p, nil
}

// String gives what ParsePlatform reads.
func (p Platform) String() string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// Runs tells whether an image for have can be run on p. A missing variant is the
// processor's plain one (v8 of arm64, v1 of amd64); a processor runs images of
// the variants below its own.
func (p Platform) Runs(have Platform) bool {
	if p.OS != have.OS || p.Architecture != have.Architecture {
		return false
	}
	if p.Variant == "" {
		return plain(have)
	}
	return have.Variant == "" || have.Variant <= p.Variant
}

func plain(p Platform) bool {
	return p.Variant == "" || (p.Architecture == "arm64" && p.Variant == "v8") ||
		(p.Architecture == "amd64" && p.Variant == "v1") || p.Architecture == "arm"
}

// Select returns the manifest of x for the platform p: of those that p runs the
// one with the highest variant, of equal ones the first. Entries that are no
// manifests, and attestations (platform unknown/unknown), are passed over. The
// error wraps ErrNoPlatform and names what there is.
func (x Index) Select(p Platform) (Descriptor, error) {
	var best *Descriptor
	var there []string
	for i, d := range x.Manifests {
		if d.MediaType != "" && !IsManifest(d.MediaType) && !IsIndex(d.MediaType) {
			continue
		}
		if d.Platform == nil {
			// An index of one image that does not say what it is for: its
			// configuration will, and is checked.
			if len(x.Manifests) == 1 {
				return d, nil
			}
			continue
		}
		if d.Platform.OS == "unknown" {
			continue
		}
		there = append(there, d.Platform.String())
		if p.Runs(*d.Platform) && (best == nil || d.Platform.Variant > best.Platform.Variant) {
			best = &x.Manifests[i]
		}
	}
	if best == nil {
		if len(there) == 0 {
			there = []string{"nothing"}
		}
		return Descriptor{}, fmt.Errorf("%w %s; the image has %s", ErrNoPlatform, p, strings.Join(there, ", "))
	}
	return *best, nil
}
