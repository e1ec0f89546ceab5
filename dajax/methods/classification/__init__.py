"""Methods with one label an image. Files that begin with _ are no methods but what several share."""
