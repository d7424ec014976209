// The document's address is relative, so that the page works under a path prefix too.
SwaggerUIBundle({ url: "openapi.json", dom_id: "#docs", deepLinking: true, validatorUrl: null });
