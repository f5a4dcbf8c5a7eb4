package transport

// Bounds say what the calls of a service may take. The zero Bounds are none.
type Bounds struct {
	Message int // the length of a request over HTTP, in bytes; 0: any

	// Enter lets a call in, or gives the error that refuses it. Nil lets all in.
	Enter func() error

	// Leave is told of the end of each call that was let in. Nil: nobody wants to
	// know.
	Leave func()
}

func (b *Bounds) enter() error {
	if b.Enter == nil {
		return nil
	}
	return b.Enter()
}

func (b *Bounds) leave() {
	if b.Leave != nil {
		b.Leave()
	}
}
