package image

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
)

// registry is the origin of an image that a registry has, or one of its mirrors.
type registry struct {
	store     *store.Store
	options   Options
	log       *slog.Logger
	endpoints []*endpoint // mirrors, then the registry
	// identifier is the tag or digest of the reference.
	identifier string
}

// endpoint is one host that has the repository. Safe for concurrent use.
type endpoint struct {
	repository name.Repository
	keychain   authn.Keychain
	base       http.RoundTripper

	mu     sync.Mutex
	client *http.Client // guarded by mu; made with the first request
}

func openRegistry(s *store.Store, reference string, o Options) (origin, error) {
	ref, err := name.ParseReference(reference, name.WeakValidation)
	if err != nil {
		return nil, fmt.Errorf("%w: %.200q", ErrSource, reference)
	}
	r := &registry{store: s, options: o, log: o.Log, identifier: ref.Identifier()}
	host := ref.Context().RegistryStr()
	if host == name.DefaultRegistry {
		host = "docker.io"
	}
	for _, mirror := range o.Mirrors[host] {
		mirrorHost, plain := strings.CutPrefix(strings.TrimPrefix(mirror, "https://"), "http://")
		e, err := r.endpoint(strings.TrimSuffix(mirrorHost, "/"), ref.Context().RepositoryStr(), plain)
		if err != nil {
			return nil, fmt.Errorf("mirror %q: %w", mirror, err)
		}
		r.endpoints = append(r.endpoints, e)
	}
	e, err := r.endpoint(ref.Context().RegistryStr(), ref.Context().RepositoryStr(), slices.Contains(o.PlainHTTP, host))
	if err != nil {
		return nil, err
	}
	r.endpoints = append(r.endpoints, e)
	return r, nil
}

func (r *registry) endpoint(host, repository string, plain bool) (*endpoint, error) {
	plain = plain || isLoopback(host)
	options := []name.Option{name.WeakValidation}
	if plain {
		options = append(options, name.Insecure)
	}
	repo, err := name.NewRepository(host+"/"+repository, options...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSource, err)
	}
	var keychain authn.Keychain = authn.DefaultKeychain
	if r.options.Anonymous {
		keychain = authn.NewMultiKeychain()
	}
	base := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: r.options.StallTimeout}).DialContext,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   r.options.StallTimeout,
		ResponseHeaderTimeout: r.options.StallTimeout,
		IdleConnTimeout:       30 * time.Second,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   r.options.Parallel,
	}
	return &endpoint{repository: repo, keychain: keychain, base: &guarded{inner: base, plain: plain}}, nil
}

// isLoopback tells whether host, with or without a port, is this machine.
func isLoopback(host string) bool {
	bareHost, _, err := net.SplitHostPort(host)
	if err != nil {
		bareHost = host
	}
	ip := net.ParseIP(strings.Trim(bareHost, "[]"))
	return bareHost == "localhost" || (ip != nil && ip.IsLoopback())
}

// guarded refuses plain HTTP where nobody asked for it: the library would fall
// back to it for private addresses, and a credential would go in the clear to whoever answers.
type guarded struct {
	inner *http.Transport
	plain bool
}

func (g *guarded) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.Scheme != "https" && !g.plain {
		return nil, fmt.Errorf("%w: it wants plain HTTP; allow it for %s by name if you trust the network", ErrRegistry, request.URL.Host)
	}
	return g.inner.RoundTrip(request)
}

func (r *registry) close() {
	for _, e := range r.endpoints {
		if g, ok := e.base.(*guarded); ok {
			g.inner.CloseIdleConnections()
		}
	}
}

// authorized returns the client of an endpoint, after the exchange of credentials
// for a token where the registry wants it.
func (e *endpoint) authorized(ctx context.Context) (*http.Client, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.client != nil {
		return e.client, nil
	}
	auth, err := authn.Resolve(ctx, e.keychain, e.repository)
	if err != nil {
		return nil, fmt.Errorf("%w: read credentials for %s: %w", ErrUnauthorized, e.repository.RegistryStr(), err)
	}
	t, err := transport.NewWithContext(ctx, e.repository.Registry, auth, transport.NewUserAgent(e.base, "sandboxrun"),
		[]string{e.repository.Scope(transport.PullScope)})
	if err != nil {
		return nil, err
	}
	e.client = &http.Client{Transport: t}
	return e.client, nil
}

// each calls try for the mirrors and then the registry, until one succeeds or the
// context ends. What the mirrors said is logged; the registry's word counts.
func (r *registry) each(ctx context.Context, try func(e *endpoint) error) error {
	for i, e := range r.endpoints {
		err := try(e)
		if err == nil || ctx.Err() != nil || i == len(r.endpoints)-1 {
			return err
		}
		r.log.Warn("a mirror failed", "mirror", e.repository.RegistryStr(), "error", err)
	}
	return nil
}

func (r *registry) root(ctx context.Context) (data []byte, mediaType string, err error) {
	err = r.each(ctx, func(e *endpoint) error {
		data, mediaType, err = r.fetchManifest(ctx, e, r.identifier)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	if pinned, notDigest := manifest.ParseDigest(r.identifier); notDigest == nil {
		if got := manifest.DigestOf(data); got != pinned {
			return nil, "", fmt.Errorf("%w: what came as %s is %s", store.ErrDigest, pinned, got)
		}
	}
	return data, mediaType, nil
}

// document fetches a manifest that an index names, or a configuration.
func (r *registry) document(ctx context.Context, d manifest.Descriptor) (data []byte, err error) {
	if r.store.HasBlob(d.Digest) {
		if data, err := r.store.ReadBlob(d.Digest); err == nil {
			return data, nil
		}
	}
	err = r.each(ctx, func(e *endpoint) error {
		if manifest.IsIndex(d.MediaType) || manifest.IsManifest(d.MediaType) {
			data, _, err = r.fetchManifest(ctx, e, string(d.Digest))
		} else {
			data, err = r.fetchSmall(ctx, e, e.url("blobs", string(d.Digest)))
		}
		if err != nil {
			return err
		}
		_, err = verified(data, d)
		return err
	})
	return data, err
}

func (e *endpoint) url(kind, what string) string {
	return fmt.Sprintf("%s://%s/v2/%s/%s/%s", e.repository.Scheme(), e.repository.RegistryStr(), e.repository.RepositoryStr(), kind, what)
}

// layer downloads the blob, or goes on with a former download, and opens it.
func (r *registry) layer(ctx context.Context, d manifest.Descriptor) (io.ReadCloser, error) {
	if !r.store.HasBlob(d.Digest) {
		err := r.download(ctx, d)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return r.store.Blob(d.Digest)
}

func (r *registry) download(ctx context.Context, d manifest.Descriptor) (retErr error) {
	p, err := r.store.Partial(ctx, d.Digest, d.Size)
	if err != nil {
		return err
	}
	defer func() { retErr = errors.Join(retErr, p.Close()) }()
	return r.each(ctx, func(e *endpoint) error {
		for again := range 2 {
			if err := r.fetchBlob(ctx, e, d, p); err != nil {
				return err
			}
			err := p.Commit()
			// What a former download left may be damaged: once more from the beginning.
			if err == nil || !errors.Is(err, store.ErrDigest) || again == 1 {
				return err
			}
			r.options.Progress(Progress{Digest: d.Digest, Stage: "retry", Total: d.Size, Err: err})
		}
		return nil
	})
}
