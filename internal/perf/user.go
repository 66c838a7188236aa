package perf

import (
	"context"
	"errors"
	"net"
)

// userStack is this module's TCP.
type userStack struct{}

func newUserStack() *userStack { return &userStack{} }

func (*userStack) Name() string { return "user" }

func (*userStack) Helpers() []Helper { return nil }

var errNoUserStack = errors.New("user-space TCP is not part of this build")

func (*userStack) Dial(context.Context, string) (net.Conn, error) { return nil, errNoUserStack }

func (*userStack) Listen(context.Context, string) (net.Listener, error) { return nil, errNoUserStack }
