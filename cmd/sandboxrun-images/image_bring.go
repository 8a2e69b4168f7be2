package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"

	"github.com/sandboxrun/sandboxrun/rootfs/image"
	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
)

const (
	// maxBring bounds the list of sources that is read from stdin, in bytes.
	maxBring = 4 << 20
	// bringParallel is how many sources come in at once; each fetches layers in parallel.
	bringParallel = 3
)

// wanted is a source that is to be in the store.
type wanted struct {
	// Source is absolute, as `bundle build` takes it; host: is none.
	Source   string     `json:"source"`
	Platform string     `json:"platform,omitempty"`
	Pull     image.Pull `json:"pull,omitempty"`
}

// brought is what became of the wanted at the same place of the list: Error, or
// all else.
type brought struct {
	Reference      string          `json:"reference,omitempty"`
	Digest         manifest.Digest `json:"digest,omitempty"`
	Platform       string          `json:"platform,omitempty"`
	Variant        string          `json:"variant,omitempty"`
	DockerDefaults bool            `json:"docker_defaults,omitempty"`
	Error          string          `json:"error,omitempty"`
}

// imageBringCommand is how sandboxrun-env gets images: it need not know
// registries and archives then.
func (inv *invocation) imageBringCommand() *cli.Command {
	return &cli.Command{
		Name:   "bring",
		Usage:  "bring the sources of a list on stdin into the store",
		Hidden: true,
		Flags:  loadFlags(),
		Action: func(c *cli.Context) error {
			if err := arguments(c, 0, 0); err != nil {
				return err
			}
			data, err := io.ReadAll(io.LimitReader(inv.streams.in, maxBring))
			if err != nil {
				return fmt.Errorf("read list of sources: %w", err)
			}
			var list []wanted
			if err := json.Unmarshal(data, &list); err != nil {
				return fmt.Errorf("read list of sources: %w", err)
			}
			st, err := inv.openStore()
			if err != nil {
				return err
			}
			return inv.bring(c, st, list)
		},
	}
}

// bring loads all of list and prints what became of each.
func (inv *invocation) bring(c *cli.Context, st *store.Store, list []wanted) error {
	show := newProgress(inv.streams.err, c.Bool("quiet"))
	results := make([]brought, len(list))
	var group errgroup.Group
	group.SetLimit(bringParallel)
	for i, w := range list {
		group.Go(func() error {
			var err error
			if results[i], err = inv.bringOne(c, st, w, show); err != nil {
				results[i] = brought{Error: err.Error()}
			}
			return nil
		})
	}
	group.Wait() //nolint:errcheck // each result has its own error
	show.end()
	if show.changed() {
		if err := st.Settle(); err != nil {
			return err
		}
	}
	if err := c.Context.Err(); err != nil {
		return context.Cause(c.Context)
	}
	return json.NewEncoder(inv.streams.out).Encode(results)
}

func (inv *invocation) bringOne(c *cli.Context, st *store.Store, w wanted, show *progress) (brought, error) {
	o, err := inv.loadOptions(c, w.Platform)
	if err != nil {
		return brought{}, err
	}
	if o.Pull, err = parsePull(string(w.Pull)); err != nil {
		return brought{}, err
	}
	// Sources are absolute: the working directory is not asked for.
	source, err := image.ParseSource(w.Source, "/")
	if err != nil {
		return brought{}, err
	}
	o.Progress = show.step
	found, err := image.Load(c.Context, st, source, o)
	if err != nil {
		return brought{}, err
	}
	return brought{
		Reference: found.Reference, Digest: found.Digest, Platform: found.Config.Platform().String(), Variant: o.Variant,
		DockerDefaults: source.Kind != image.Binary,
	}, nil
}
