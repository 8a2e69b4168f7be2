// Hello is the sample that `make run` shows: a service that answers one HTTP
// request inside its own network namespace, prints what it sees there and exits.
// It uses the standard library only, so that it is one static file.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// address is on the loopback interface of the sandbox's network namespace: any
// number of these services run side by side.
const address = "127.0.0.1:8080"

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "hello:", err)
		os.Exit(1)
	}
}

func run(out io.Writer) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("cannot serve: %w; is the loopback interface of this network namespace up?", err)
	}
	server := &http.Server{Handler: http.HandlerFunc(answer), ReadHeaderTimeout: time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	requestErr := request(out, "http://"+address+"/")
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	shutdownErr := server.Shutdown(ctx)
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return errors.Join(requestErr, shutdownErr, err)
	}
	return errors.Join(requestErr, shutdownErr)
}

func answer(w http.ResponseWriter, _ *http.Request) {
	text, err := report()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, text)
}

func request(out io.Writer, url string) error {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url)
	if err != nil {
		return fmt.Errorf("request own service: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("read own answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("own service answered %s: %s", response.Status, body)
	}
	_, err = fmt.Fprintf(out, "GET %s answered %s\n%s", url, response.Status, body)
	return err
}
