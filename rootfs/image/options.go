package image

import (
	"log/slog"
	"sync"
	"time"

	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
	"github.com/sandboxrun/sandboxrun/rootfs/unpack"
)

// Pull says when a registry is asked.
type Pull string

// The pull policies.
const (
	PullMissing Pull = "missing" // the default: only what the store does not have
	PullAlways  Pull = "always"  // the tag may have moved; layers that are there are not fetched
	PullNever   Pull = "never"
)

// Progress is one step of a load, for a progress bar.
type Progress struct {
	// Digest is that of the layer's blob.
	Digest manifest.Digest
	// Stage is "fetch", "retry", "unpack", "done" or "exists".
	Stage string
	// Done of Total bytes of the blob; Total is -1 where it is not known.
	Done, Total int64
	// Err is why a step is tried again.
	Err error
}

// Options say how an image is loaded. The zero value is for root on this host's
// platform.
type Options struct {
	// Platform; the zero value is this host's.
	Platform manifest.Platform
	// Pull is PullMissing if empty.
	Pull Pull
	// Mirrors maps a registry's host ("docker.io") to hosts that are asked before
	// it, in order. "http://" before a host is plain HTTP.
	Mirrors map[string][]string
	// PlainHTTP names registries that are asked without TLS. localhost and loopback
	// addresses need no mention.
	PlainHTTP []string
	// Anonymous keeps docker's credentials out of it.
	Anonymous bool
	// Parallel is how many layers are fetched at once; 0 is 4. Unpacked are two at
	// once, for the sake of memory.
	Parallel int
	// Attempts for one request without any progress; 0 is 6. StallTimeout ends an
	// attempt that gives no byte; 0 is 30 s.
	Attempts     int
	StallTimeout time.Duration
	// Backoff is the first pause between attempts, which doubles up to 30 s; 0 is
	// 500 ms. Retry-After overrides it, up to 2 min.
	Backoff time.Duration
	// Unpack has limits, owners and form; Variant names them in the store ("" for
	// root's).
	Unpack  unpack.Options
	Variant string
	// Name is the reference under which an image that is not from a registry is
	// kept; empty: the source's own words.
	Name string
	// Progress is called from several goroutines, never two at once, and must not
	// block. nil: not called.
	Progress func(Progress)
	// Log may be nil.
	Log *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Platform.OS == "" {
		o.Platform = manifest.Host()
	}
	if o.Pull == "" {
		o.Pull = PullMissing
	}
	if o.Parallel <= 0 {
		o.Parallel = 4
	}
	if o.Attempts <= 0 {
		o.Attempts = 6
	}
	if o.StallTimeout <= 0 {
		o.StallTimeout = 30 * time.Second
	}
	if o.Backoff <= 0 {
		o.Backoff = 500 * time.Millisecond
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Unpack.Log == nil {
		o.Unpack.Log = o.Log
	}
	report := o.Progress
	var mu sync.Mutex
	o.Progress = func(p Progress) {
		if report == nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		report(p)
	}
	return o
}
