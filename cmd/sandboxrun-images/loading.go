package main

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/moby/sys/userns"
	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/bundles/build"
	"github.com/sandboxrun/sandboxrun/internal/commandline"
	"github.com/sandboxrun/sandboxrun/rootfs/image"
	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
	"github.com/sandboxrun/sandboxrun/rootfs/unpack"
)

// hostSource is the source that is this host's root filesystem.
const hostSource = "host:"

// loadFlags are those of commands that bring images into the store.
func loadFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "platform", Usage: "take the image for `OS/ARCHITECTURE[/VARIANT]` (default: this host's)"},
		&cli.StringSliceFlag{Name: "mirror", Usage: "ask `REGISTRY=HOST` before the registry; http:// before HOST is plain HTTP (can be repeated)"},
		&cli.StringSliceFlag{Name: "plain-http", Usage: "ask `REGISTRY` without TLS (can be repeated)"},
		&cli.BoolFlag{Name: "anonymous", Usage: "use no credentials"},
		&cli.IntFlag{Name: "parallel", Usage: "fetch `N` layers at once (default: 4)"},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "show no progress"},
	}
}

func pullFlag() cli.Flag {
	return &cli.StringFlag{Name: "pull", Value: string(image.PullMissing), Usage: "ask the registry `WHEN`: missing, always or never"}
}

func parsePull(value string) (image.Pull, error) {
	switch p := image.Pull(value); p {
	case image.PullMissing, image.PullAlways, image.PullNever:
		return p, nil
	}
	return "", commandline.Usagef("--pull %q: it must be missing, always or never", value)
}

// loadOptions reads the flags; platform is a service's, which a flag wins over.
func (inv *invocation) loadOptions(c *cli.Context, platform string) (image.Options, error) {
	o := image.Options{
		PlainHTTP: c.StringSlice("plain-http"), Anonymous: c.Bool("anonymous"), Parallel: c.Int("parallel"), Log: inv.log,
		Unpack: unpack.Options{Log: inv.log},
	}
	if flag := c.String("platform"); flag != "" {
		platform = flag
	}
	if platform != "" {
		p, err := manifest.ParsePlatform(platform)
		if err != nil {
			return o, err
		}
		o.Platform = p
	}
	for _, m := range c.StringSlice("mirror") {
		registry, host, ok := strings.Cut(m, "=")
		if !ok || registry == "" || host == "" {
			return o, commandline.Usagef("--mirror %q: it must be REGISTRY=HOST", m)
		}
		if o.Mirrors == nil {
			o.Mirrors = map[string][]string{}
		}
		o.Mirrors[registry] = append(o.Mirrors[registry], host)
	}
	switch {
	case hasOneID():
		o.Variant = "own"
		o.Unpack.OwnAll, o.Unpack.Form, o.Unpack.Devices = true, unpack.OverlayUser, unpack.SkipDevices
	case userns.RunningInUserNS():
		// Its root may set owners, but neither xattrs trusted.* nor make devices.
		o.Variant = "userns"
		o.Unpack.Form, o.Unpack.Devices = unpack.OverlayUser, unpack.SkipDevices
	}
	return o, nil
}

// hasOneID tells whether all files are the caller's own: an ordinary user's, or
// those of the root of a user namespace that has no other ID.
func hasOneID() bool {
	if os.Geteuid() != 0 {
		return true
	}
	// user_namespaces(7): lines of ID inside, ID outside, length.
	data, err := os.ReadFile("/proc/self/uid_map")
	fields := strings.Fields(string(data))
	return err == nil && len(fields) == 3 && fields[2] == "1"
}

// loader brings an image into the store and shows how.
type loader struct {
	inv     *invocation
	store   *store.Store
	source  image.Source
	options image.Options
	quiet   bool
}

// load is build.Source's Load.
func (l *loader) load(ctx context.Context) (store.Image, error) {
	show := newProgress(l.inv.streams.err, l.quiet)
	l.options.Progress = show.step
	found, err := image.Load(ctx, l.store, l.source, l.options)
	show.end()
	if err != nil {
		return store.Image{}, err
	}
	if show.changed() {
		if err := l.store.Settle(); err != nil {
			return store.Image{}, err
		}
	}
	return found, nil
}

// sourceOf reads SOURCE; relative paths in it are meant from dir.
func (inv *invocation) sourceOf(st *store.Store, text, dir string, o image.Options, quiet bool) (build.Source, error) {
	src := build.Source{Text: text, Variant: o.Variant}
	if text == hostSource {
		if hasOneID() || userns.RunningInUserNS() {
			return src, errors.New("cannot use host: as an ordinary user: the root filesystem's owners cannot be mapped; run as root, or use a directory or image")
		}
		return src, nil
	}
	parsed, err := image.ParseSource(text, dir)
	if err != nil {
		return src, err
	}
	l := &loader{inv, st, parsed, o, quiet}
	src.Text = parsed.String()
	src.Load = l.load
	src.DockerDefaults = parsed.Kind != image.Binary
	return src, nil
}
