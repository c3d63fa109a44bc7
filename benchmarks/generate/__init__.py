"""What issuing a chain costs: rechain, chainsmith, an openssl loop and a bare key loop, interleaved."""
