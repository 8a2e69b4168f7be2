package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
)

const (
	maxBackoff    = 30 * time.Second
	maxRetryAfter = 2 * time.Minute
)

// errStalled says that a connection gave nothing for StallTimeout.
var errStalled = errors.New("the connection gave no data")

// answerError is an HTTP answer that is none.
type answerError struct {
	status int
	after  time.Duration // Retry-After, 0 if there is none
	text   string
}

func (e *answerError) Error() string {
	text := fmt.Sprintf("it answered %d %s", e.status, http.StatusText(e.status))
	if e.text != "" {
		text += ": " + e.text
	}
	return text
}

// fetchManifest returns a manifest or index with the media type that the registry
// says.
func (r *registry) fetchManifest(ctx context.Context, e *endpoint, what string) (data []byte, mediaType string, err error) {
	err = r.attempt(ctx, e, "", func(ctx context.Context, client *http.Client) (bool, error) {
		response, err := get(ctx, client, e.url("manifests", what), func(h http.Header) { h.Set("Accept", manifest.Accept()) })
		if err != nil {
			return false, err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return false, refused(response)
		}
		mediaType = response.Header.Get("Content-Type")
		data, err = readSmall(response)
		return false, err
	})
	return data, mediaType, err
}

func (r *registry) fetchSmall(ctx context.Context, e *endpoint, url string) (data []byte, err error) {
	err = r.attempt(ctx, e, "", func(ctx context.Context, client *http.Client) (bool, error) {
		response, err := get(ctx, client, url, nil)
		if err != nil {
			return false, err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return false, refused(response)
		}
		data, err = readSmall(response)
		return false, err
	})
	return data, err
}

func readSmall(response *http.Response) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(response.Body, manifest.MaxDocument+1))
	if err == nil && len(data) > manifest.MaxDocument {
		return nil, permanent{fmt.Errorf("%w: a document above %d bytes", manifest.ErrInvalid, manifest.MaxDocument)}
	}
	return data, err
}

// fetchBlob appends to p what it lacks. After every byte that came, the attempts
// count anew.
func (r *registry) fetchBlob(ctx context.Context, e *endpoint, d manifest.Descriptor, p *store.Partial) error {
	return r.attempt(ctx, e, d.Digest, func(ctx context.Context, client *http.Client) (bool, error) {
		before := p.Offset()
		if before == d.Size {
			return true, nil
		}
		response, err := get(ctx, client, e.url("blobs", string(d.Digest)), func(h http.Header) {
			if before > 0 {
				h.Set("Range", fmt.Sprintf("bytes=%d-", before))
			}
		})
		if err != nil {
			return false, err
		}
		defer response.Body.Close()
		switch {
		case response.StatusCode == http.StatusPartialContent && before > 0 && rangeBegins(response, before):
		case response.StatusCode == http.StatusOK, response.StatusCode == http.StatusRequestedRangeNotSatisfiable,
			response.StatusCode == http.StatusPartialContent:
			// No ranges here, or not this one.
			if err := p.Restart(); err != nil {
				return false, permanent{err}
			}
			if response.StatusCode != http.StatusOK {
				return false, refused(response)
			}
		default:
			return false, refused(response)
		}
		counted := &meter{r: response.Body, digest: d.Digest, stage: "fetch", total: d.Size, report: r.options.Progress}
		counted.done, counted.reported = p.Offset(), p.Offset()
		_, err = io.Copy(&keeper{p}, counted)
		if err == nil && p.Offset() != d.Size {
			err = io.ErrUnexpectedEOF
		}
		return p.Offset() > before, err
	})
}

// keeper marks errors of the disk as such: trying again does not mend them.
type keeper struct{ p *store.Partial }

func (k *keeper) Write(b []byte) (int, error) {
	n, err := k.p.Write(b)
	if err != nil {
		err = permanent{err}
	}
	return n, err
}

func rangeBegins(response *http.Response, at int64) bool {
	return strings.HasPrefix(response.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", at))
}

// permanent is an error that does not go away by another attempt.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

func get(ctx context.Context, client *http.Client, url string, set func(http.Header)) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, permanent{err}
	}
	if set != nil {
		set(request.Header)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	// Each byte that comes puts off the end of the attempt.
	if a, ok := ctx.Value(attemptKey{}).(*attemptTimer); ok {
		response.Body = &watched{response.Body, a}
	}
	return response, nil
}

type attemptKey struct{}

// attemptTimer ends an attempt that gives nothing for a while.
type attemptTimer struct {
	timer *time.Timer
	after time.Duration
}

type watched struct {
	io.ReadCloser
	a *attemptTimer
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.ReadCloser.Read(b)
	if n > 0 {
		w.a.timer.Reset(w.a.after)
	}
	return n, err
}

// refused reads why a request was refused.
func refused(response *http.Response) error {
	e := &answerError{status: response.StatusCode, after: retryAfter(response.Header.Get("Retry-After"))}
	var body struct {
		Errors []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, 16<<10))
	if err == nil && decode(data, &body) == nil && len(body.Errors) > 0 {
		e.text = oneLine(body.Errors[0].Code + ": " + body.Errors[0].Message)
	}
	return e
}

// oneLine keeps what a registry says from breaking the line or the terminal.
func oneLine(s string) string {
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, s)
	return s[:min(len(s), 200)]
}

// retryAfter reads the header's two forms (RFC 9110, 10.2.3).
func retryAfter(header string) time.Duration {
	after := time.Duration(0)
	if seconds, err := strconv.Atoi(header); err == nil {
		after = time.Duration(min(seconds, int(maxRetryAfter/time.Second))) * time.Second
	} else if when, err := http.ParseTime(header); err == nil {
		after = time.Until(when)
	}
	return max(0, min(after, maxRetryAfter))
}

// attempt calls try until it succeeds, fails for good, or has failed Attempts
// times in a row without progress.
func (r *registry) attempt(ctx context.Context, e *endpoint, d manifest.Digest, try func(ctx context.Context, client *http.Client) (progress bool, err error)) error {
	pause := r.options.Backoff
	for failures := 0; ; {
		progress, err := r.once(ctx, e, try)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if final := r.final(e, err); final != nil {
			return final
		}
		if progress {
			failures, pause = 0, r.options.Backoff
		}
		failures++
		if failures >= r.options.Attempts {
			return fmt.Errorf("%w: %s, after %d attempts: %w", ErrRegistry, e.repository.RegistryStr(), failures, err)
		}
		r.options.Progress(Progress{Digest: d, Stage: "retry", Total: -1, Err: err})
		wait := pause/2 + rand.N(pause/2+1)
		var answer *answerError
		if errors.As(err, &answer) && answer.after > 0 {
			wait = answer.after
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
		pause = min(2*pause, maxBackoff)
	}
}

func (r *registry) once(ctx context.Context, e *endpoint, try func(ctx context.Context, client *http.Client) (bool, error)) (bool, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(r.options.StallTimeout, func() { cancel(errStalled) })
	defer timer.Stop()
	ctx = context.WithValue(ctx, attemptKey{}, &attemptTimer{timer, r.options.StallTimeout})
	client, err := e.authorized(ctx)
	if err == nil {
		var progress bool
		progress, err = try(ctx, client)
		if err == nil || !errors.Is(context.Cause(ctx), errStalled) {
			return progress, err
		}
		return progress, fmt.Errorf("%w for %s", errStalled, r.options.StallTimeout)
	}
	if errors.Is(context.Cause(ctx), errStalled) {
		err = fmt.Errorf("%w for %s", errStalled, r.options.StallTimeout)
	}
	return false, err
}

// final returns what to say of an error that another attempt does not mend, or
// nil.
func (r *registry) final(e *endpoint, err error) error {
	host := e.repository.RegistryStr()
	var lasting permanent
	if errors.As(err, &lasting) {
		return lasting.error
	}
	if errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrRegistry) {
		return err
	}
	status := 0
	var answer *answerError
	var denied *transport.Error
	switch {
	case errors.As(err, &answer):
		status = answer.status
	case errors.As(err, &denied):
		status = denied.StatusCode
		err = &answerError{status: status}
	}
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w by %s: %w; check the name, and log in by docker login %s", ErrUnauthorized, host, err, host)
	case http.StatusNotFound:
		return fmt.Errorf("%w at %s: %w; check name and tag", ErrUnknown, host, err)
	case 0, http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusTooEarly, http.StatusRequestedRangeNotSatisfiable:
		return nil
	}
	if status >= 500 {
		return nil
	}
	return fmt.Errorf("%w: %s: %w", ErrRegistry, host, err)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
