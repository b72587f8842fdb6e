window.order = [...(window.order ?? []), 'ignored'];
